"""Tags that say nothing of what a video is about: words of the platform, pleas, years, in the commonest languages."""

from __future__ import annotations

_PLATFORM = """
    video, videos, vídeo, vídeos, vidéo, vidéos, видео, वीडियो, فيديو, 動画, 视频, 影片, 동영상, video clip,
    videoclip, clip, clips, youtube, youtuber, youtubers, youtube video, youtube videos, youtube channel,
    you tube, yt, ютуб, यूट्यूब, يوتيوب, 유튜브, ユーチューブ, channel, canal, kanal, канал, チャンネル, 채널,
    shorts, short, #shorts, youtube shorts, ytshorts, yt shorts, short video, short videos, shorts video,
    shortvideo, shortsvideo, shortsfeed, shorts feed, шортс, शॉर्ट्स, شورتس, 쇼츠, ショート, reels, reel,
    instagram, insta, instagram reels, facebook, tiktok, tik tok, tiktok video, tiktok viral, тикток, تيك توك,
    抖音, 틱톡, twitter, telegram, whatsapp, whatsapp status, snapchat, discord, twitch, live, live stream,
    livestream, streaming, stream, en vivo, ao vivo, en direct, canlı yayın, прямой эфир, 直播, 생방송, ライブ,
    premiere, podcast, vlog, vlogs, vlogger, daily vlog, влог, व्लॉग, 브이로그, hd, full hd, 4k, 8k, 1080p,
    720p, 60fps, hdr, uhd, full, full video, full movie, full episode, episode, episodio, épisode, folge, серия,
    part, part 1, part 2, official, official video, official music video, oficial, offiziell, officiel,
    официальный, lyrics, lyric video, trailer, teaser, intro, outro, playlist, compilation, edit, edits
"""

_PLEAS = """
    viral, viral video, viral videos, viral shorts, viralvideo, viralshorts, viralshort, going viral, go viral,
    virales, virale, वायरल, वायरल वीडियो, فيروسي, вирусное, バズ, trend, trends, trending, trending video,
    trending shorts, trendingshorts, trending now, tendencia, tendencias, tendance, ট্রেন্ডিং, ट्रेंडिंग, ترند,
    тренд, тренды, en tendencia, fyp, fypシ, fyp シ, fypage, foryou, for you, foryoupage, for you page, fy,
    fypシ゚viral, parati, para ti, paravoce, para você, pourtoi, pour toi, für dich, fürdich, 推荐, おすすめ,
    추천, explore, explorepage, explore page, recommended, рекомендации, рек, like, likes, subscribe,
    subscribers, sub, subs, follow, share, comment, support, please subscribe, like and subscribe, suscribete,
    suscríbete, inscreva-se, abonnez-vous, abonnieren, abone ol, подписка, подпишись, подписывайтесь,
    सब्सक्राइब, اشترك, チャンネル登録, 구독, 좋아요, best, best of, top, top 5, top 10, new, new video, latest,
    popular, famous, must watch, watch, watch now, wow, omg, lol, cool, nice, amazing, awesome, epic,
    satisfying, relatable, nuevo, nueva, novo, nova, nouveau, neu, новое, новый, नया, جديد, 最新, mejor, melhor,
    meilleur, лучшее, today, hoy, hoje, aujourd'hui, heute, сегодня, आज, اليوم, 今日, 오늘, english, hindi,
    español, português, français, deutsch, русский, हिन्दी, हिंदी, العربية, 日本語, 한국어, 中文,
    bahasa indonesia, türkçe
"""


def _words(text: str) -> frozenset[str]:
    return frozenset(word.strip().casefold() for word in text.split(",") if word.strip())


GENERIC = _words(_PLATFORM) | _words(_PLEAS)
"""Folded, as terms are."""
