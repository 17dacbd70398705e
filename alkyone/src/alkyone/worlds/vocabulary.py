"""The words a generated world is made of."""

from __future__ import annotations

from typing import NamedTuple

_WIKI = "https://en.wikipedia.org/wiki/"


class Topic(NamedTuple):
    """What a channel is about; ``tags`` are the words of its videos, twelve for every topic."""

    name: str
    category_id: str
    wiki: str
    tags: tuple[str, ...]


def _topic(name: str, category_id: int, wiki: str, tags: str) -> Topic:
    return Topic(name, str(category_id), _WIKI + wiki, tuple(tag.strip() for tag in tags.split(",")))


# Category ids as videoCategories.list gives them; wiki pages as topicDetails.topicCategories names them.
TOPICS = (
    _topic("music", 10, "Music", "new song, official video, live session, acoustic cover, remix, lyrics, piano, guitar solo, choir, debut single, studio diary, unplugged"),
    _topic("hip hop", 10, "Hip_hop_music", "freestyle, beat making, cypher, mixtape, drill, trap beat, sampling, rap battle, producer, vinyl, boom bap, hook"),
    _topic("k-pop", 10, "Pop_music", "comeback stage, dance practice, fancam, teaser, idol, fan chant, choreography, debut, lightstick, music show, unit, encore"),
    _topic("jazz", 10, "Jazz", "saxophone, improvisation, standards, big band, trio, swing, blue note, trumpet, bebop, double bass, brushes, late night"),
    _topic("electronic music", 10, "Electronic_music", "dj set, techno, house, modular synth, ambient, drum machine, festival, afterparty, sound design, mashup, drop, patch"),
    _topic("minecraft", 20, "Video_game_culture", "survival, redstone, speedrun, hardcore, castle build, modpack, skyblock, villager, nether, automatic farm, server tour, update"),
    _topic("football", 17, "Association_football", "highlights, penalty, derby, transfer news, free kick, goalkeeper, press conference, tactics, comeback win, last minute goal, academy, training"),
    _topic("basketball", 17, "Basketball", "dunk, buzzer beater, mixtape game, crossover, playoffs, rookie, three pointer, streetball, draft, assist, defense, locker room"),
    _topic("speedrunning", 20, "Video_game_culture", "world record, any percent, glitch, route, tool assisted, split, marathon, boss skip, commentary, retro, out of bounds, history"),
    _topic("racing", 17, "Motorsport", "onboard lap, pit stop, qualifying, overtake, rally, karting, crash, wet race, simulator, paddock, engine sound, hill climb"),
    _topic("cooking", 26, "Food", "recipe, one pot, street food, sourdough, knife skills, meal prep, noodles, curry, dessert, grandma, budget, fermentation"),
    _topic("baking", 26, "Food", "croissant, cake decorating, cookies, meringue, puff pastry, cinnamon roll, glaze, oven, macaron, gluten free, brownie, pie"),
    _topic("travel", 19, "Tourism", "night train, hidden beach, hostel, van life, island, road trip, old town, border crossing, backpacking, airport, ferry, market"),
    _topic("hiking", 19, "Hobby", "summit, thru hike, tent, ultralight, ridge, waterfall, winter camp, trail running, bothy, glacier, map reading, boots"),
    _topic("astronomy", 28, "Knowledge", "telescope, nebula, eclipse, black hole, rocket launch, lunar, meteor shower, exoplanet, dark sky, orbit, deep field, pleiades"),
    _topic("physics", 28, "Knowledge", "experiment, quantum, thermodynamics, lecture, magnet, pendulum, optics, particle, relativity, fluid, paradox, measurement"),
    _topic("mathematics", 27, "Knowledge", "proof, prime numbers, topology, puzzle, calculus, geometry, fractal, probability, infinity, olympiad, knot, visual"),
    _topic("programming", 28, "Technology", "python, rust, debugging, code review, database, compiler, open source, terminal, refactoring, algorithm, postgres, live coding"),
    _topic("machine learning", 28, "Technology", "neural network, transformer, training run, paper review, robotics, benchmark, dataset, embedding, vision model, gradient, agent, inference"),
    _topic("gadgets", 28, "Technology", "unboxing, phone review, teardown, camera test, battery, laptop, headphones, repair, e-ink, keyboard, drone, first look"),
    _topic("woodworking", 26, "Hobby", "dovetail, hand plane, workbench, chair, lathe, joinery, oak, sharpening, epoxy table, veneer, jig, boat building"),
    _topic("gardening", 26, "Hobby", "tomatoes, compost, raised bed, pruning, bonsai, greenhouse, harvest, wildflowers, seedlings, orchard, pond, permaculture"),
    _topic("fitness", 17, "Physical_fitness", "home workout, deadlift, mobility, marathon training, calisthenics, stretching, kettlebell, push ups, recovery, rowing, plank, transformation"),
    _topic("cycling", 17, "Sport", "gravel, bikepacking, climb, sprint finish, wheel build, commute, peloton, fixed gear, descent, tour stage, velodrome, puncture"),
    _topic("chess", 20, "Strategy_video_game", "blitz, endgame, opening trap, grandmaster, checkmate, sacrifice, puzzle rush, tournament, gambit, blunder, brilliant move, analysis"),
    _topic("comedy", 23, "Humour", "stand up, sketch, prank, roast, improv, parody, crowd work, blooper, impression, awkward, sitcom, office"),
    _topic("film", 1, "Film", "trailer, film analysis, behind the scenes, short film, editing, director, stop motion, soundtrack, scene breakdown, cult classic, casting, premiere"),
    _topic("animation", 1, "Film", "animatic, frame by frame, rigging, storyboard, cartoon, pixel art, blender, character design, loop, voice acting, walk cycle, pilot"),
    _topic("news", 25, "Society", "election, explained, breaking, interview, report, parliament, economy, debate, court, correspondent, summit meeting, press"),
    _topic("finance", 25, "Business", "index fund, budget, inflation, housing, interest rates, pension, earnings, saving, bonds, taxes, side income, startup"),
    _topic("history", 27, "Knowledge", "roman empire, archive footage, castle, shipwreck, revolution, medieval, archaeology, map animation, railway, dynasty, letters, forgotten"),
    _topic("languages", 27, "Knowledge", "pronunciation, polyglot, grammar, immersion, vocabulary, accent, etymology, listening practice, shadowing, dialect, sign language, flashcards"),
    _topic("cats", 15, "Pet", "kitten, rescue, purring, scratching post, cat cafe, stray, zoomies, box, vet visit, grooming, senior cat, siblings"),
    _topic("dogs", 15, "Pet", "puppy, agility, recall training, sheepdog, adoption, husky, fetch, walk, therapy dog, snow day, treats, shelter"),
    _topic("makeup", 26, "Lifestyle_(sociology)", "tutorial, foundation, eyeliner, skincare, get ready with me, palette, drugstore, bridal, swatches, lip combo, glass skin, retro look"),
    _topic("fashion", 26, "Fashion", "thrift, capsule wardrobe, runway, sewing, lookbook, sneakers, vintage, denim, knitting, upcycling, street style, tailoring"),
)  # fmt: skip

CREATORS = tuple(
    ["Northwind", "Lantern", "Copper", "Juniper", "Marble", "Orbit", "Paperboat", "Saltwater", "Velvet", "Wildflower", "Harbour", "Cinder", "Meridian", "Tangerine", "Foxglove", "Granite", "Hollow", "Ivory", "Kestrel", "Lagoon", "Mosaic", "Nimbus", "Opal", "Pepper", "Quartz", "Rosewood", "Saffron", "Thistle", "Umber", "Willow", "Aurora", "Bramble", "Cobalt", "Dandelion", "Ember", "Fjord", "Gable", "Hazel", "Indigo", "Jasper"]
)
SUFFIXES = (
    "Studio", "Club", "TV", "Daily", "Lab", "& Sons", "Channel", "Official", "Sessions", "Collective", "World", "Diaries",
    "Bros", "Kitchen", "Media", "HQ",
)  # fmt: skip

# The marks & ' " < are meant: search escapes them, videos.list does not.
TEMPLATES: dict[str, tuple[str, ...]] = {
    "en": (
        "{a} {b}, but it gets better",
        "I tried {a} for 30 days",
        "The truth about {a} & {b}",
        "{topic}: {a} #{n}",
        "Why nobody talks about {a}",
        'He said "{a}" and everyone laughed',
        "{a} vs {b} — who wins?",
        "{topic} {a} {b} compilation",
        "You won't believe this {a}",
        "How to {a} (beginner's guide)",
        "24 hours of {a}",
        "{a} <3 {b}",
        "Our first {a} ever",
        "{topic} in 2026: {a}",
    ),
    "es": ("{a} y {b}: lo que nadie te cuenta", "Probé {a} durante una semana", "¿Qué es {a}? {topic} #{n}"),
    "pt": ("{a} e {b} na prática", "Não acredito neste {a}!", "{topic}: {a} do zero #{n}"),
    "de": ("{a} & {b} – so geht's", "Ich habe {a} getestet", "{topic} kompakt: {a} #{n}"),
    "fr": ("{a} et {b} : l'histoire vraie", "J'ai testé {a}", "{topic} : {a} n° {n}"),
    "ja": ("【{topic}】{a}と{b}を比べてみた", "{a}に挑戦!第{n}回", "{a} まとめ"),
    "ko": ("{a} {b} 직접 해봤습니다", "[{topic}] {a} #{n}", "{a} 모음"),
    "hi": ("{a} और {b} का सच", "{topic}: {a} भाग {n}", "{a} कैसे करें"),
}
SHORT_TEMPLATES = ("{a} 😱 #shorts", "POV: {a}", "wait for the {a}… #{topic}", "{a} in 30 seconds", "this {a}!! 🔥")

# Language, country and their share of the channels.
PLACES = (
    ("en", "US", 0.34), ("en", "GB", 0.10), ("en", "CA", 0.05), ("es", "MX", 0.08), ("es", "ES", 0.05), ("pt", "BR", 0.09),
    ("de", "DE", 0.06), ("fr", "FR", 0.05), ("ja", "JP", 0.07), ("ko", "KR", 0.05), ("hi", "IN", 0.06),
)  # fmt: skip
