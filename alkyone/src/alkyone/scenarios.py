"""What is recorded: runs of the agents, each a scenario of its own, and the chain of all of them.

A scenario is played against services that answer, for its cassette, and then as often as there are tests, against the
cassette. Both times it is the same code with the same clock; only addresses differ.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from importlib import import_module
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from unittest import mock
from uuid import UUID

import orjson
from aiohttp import web
from PIL import Image
from pydantic import SecretStr

from alkyone import scenes
from alkyone.cassettes import Rewriting, recording, replaying
from alkyone.scrub import SCRUBBED
from alkyone.standins.discord import DiscordStandin
from alkyone.standins.gcs import GCSStandin
from alkyone.standins.hub import HubStandin
from alkyone.standins.player import HOME, PlayerStandin
from alkyone.standins.threads import served
from alkyone.standins.youtube import YouTubeStandin, oauth
from alkyone.standins.youtube.thumbnails import Asked, thumbnail
from alkyone.worlds import World, open_world
from atlas import clock, history, notifier
from atlas.adapters.maia import MaiaDAO
from atlas.adapters.records import ChannelSeen, SourceSeed, WatchEntry
from atlas.breakers import Breakers, breakers
from atlas.config import Settings, Stage
from atlas.db import DatabaseManager
from atlas.notifications import DiscordNotifier
from atlas.testing import override
from atlas.vault import VaultStrategy

Agent = Literal["hunter", "tracker", "painter", "scribe", "janitor", "heartbeat"]
Service = Literal["youtube", "captions", "player", "discord", "pings", "events", "huggingface", "gcs", "s3"]
WORLD = "generated:seed=11,channels=2,videos=12,past=20"
NOWHERE = "gone-for-ev"
"""The id of no video."""

DAY, WEEK = timedelta(days=1), timedelta(days=7)

BUCKET, REPOSITORY = "vault", "me/vault"

YOUTUBE = "https://youtube.googleapis.com"
IMAGES = "https://i.ytimg.com"
TOKENS = "https://oauth2.googleapis.com/token"
WEBHOOK = f"https://discord.com/api/webhooks/ops/{SCRUBBED}"
PINGS = f"https://hc-ping.com/{SCRUBBED}"
EVENTS = "https://events.example.com/pleiades"
STORES: Mapping[Service, str] = {
    "huggingface": "https://huggingface.co",
    "gcs": "https://storage.googleapis.com",
    "s3": "https://s3.us-east-1.amazonaws.com",
}


@dataclass(frozen=True)
class Cast:
    """What YouTube is asked about, and when; kept in the cassette."""

    at: str
    terms: Sequence[str]
    channels: Sequence[str]
    videos: Sequence[str]

    @classmethod
    def of_world(cls) -> Cast:
        """That of the stand-in's world."""
        world = open_world(WORLD)
        at = world.start + 10 * DAY
        seen = [name for channel in world.channels_at(at) for name in world.uploads(channel, at) or ()]
        public = [name for name in seen if (video := world.video(name, at)) is not None and not video.private]
        return cls(at.isoformat(), ["world record"], world.channels_at(at)[:2], [*public[:2], NOWHERE])


def real_cast() -> Cast:
    """That of a recording of YouTube itself: a channel and videos that will stay, and a video there never was."""
    now = datetime.now(UTC).replace(microsecond=0)
    return Cast(now.isoformat(), ["NASA"], ["UCLA_DiR1FfKNvjuUpBHmylQ"], ["dQw4w9WgXcQ", "jNQXAc9IVRw", NOWHERE])


@dataclass(frozen=True)
class Services:
    """Where a scenario's services are: settings, perhaps a vault, and what is written in a cassette instead."""

    settings: Mapping[str, Any] = field(default_factory=dict)
    vault: VaultStrategy | None = None
    rewriting: Rewriting = ()


class Play:
    """One performance: a database and a vault of its own, a clock that is moved, the agents in this process."""

    def __init__(self, cast: Cast, now: clock.VirtualClock, database: DatabaseManager, vault: VaultStrategy) -> None:
        self.cast = cast
        self.now = now
        self.database = database
        self.dao = MaiaDAO(database)
        self.vault = vault

    async def run(self, agent: Agent, *, every: timedelta | None = DAY) -> dict[str, Any]:
        """Run one cycle as the agent's own command does."""
        cycle = import_module(f"maia.{agent}.agent").run_once
        summary: dict[str, Any] = await cycle(**({} if agent in {"janitor", "heartbeat"} else {"every": every}))
        return summary

    async def seed(self, channels: int | None = None) -> None:
        """Pin the cast's terms and channels, or the first few of these."""
        seen = [ChannelSeen(name) for name in self.cast.channels[:channels]]
        await self.dao.add_to_search_queue(self.cast.terms, pinned=True)
        await self.dao.add_channels(seen, in_roster=True, pinned=True)

    async def enrol(self, *stages: Stage) -> None:
        """Track the cast's videos."""
        from maia.hunter.agent import enrol
        from maia.toolbox import open_toolbox

        async with open_toolbox("hunter") as tools:
            told = await enrol(tools, self.cast.videos, stages=stages)
        assert told["added"] == 2
        assert told["not_found"] == [NOWHERE]

    async def samples(self) -> set[tuple[str, datetime, int | None, int | None, int | None]]:
        """What is in SQL of the samples."""
        async with self.database.get_connection() as conn:
            rows = await conn.fetch("SELECT video_id, timestamp, views, likes, comment_count FROM video_stats_log")
        return {tuple(row.values()) for row in rows}

    async def watched(self) -> list[str]:
        """The ids that are tracked."""
        async with self.database.get_connection() as conn:
            rows = await conn.fetch("SELECT video_id FROM watchlist")
        return sorted(row["video_id"] for row in rows)


# -- Scenarios --------------------------------------------------------------------------------------------------------


async def hunt(play: Play) -> None:
    """Search, uploads, feeds and details; what is found is told to a webhook."""
    await play.seed(channels=1)
    await play.dao.add_sources("feed", [SourceSeed(name, play.now()) for name in play.cast.channels[1:]])
    summary = await play.run("hunter")
    assert summary["queries_processed"] >= 1
    assert summary["channels_polled"] >= 1
    assert summary["feeds_read"] == len(play.cast.channels) - 1
    assert summary["failed"] == 0
    assert summary["videos_discovered"] == len(await play.watched()) > 0


async def track(play: Play) -> None:
    """Counts of what is due, and a second look at what did not come back."""
    await play.enrol()
    await play.dao.add_to_watchlist([WatchEntry(NOWHERE, play.now(), "HOURLY", play.now())])
    before = len(await play.samples())
    play.now.advance(WEEK)
    summary = await play.run("tracker")
    assert summary["samples"] == len(await play.samples()) - before == 2
    assert summary["missing"] == 1


async def paint(play: Play) -> None:
    """Details, channels, and the pictures that YouTube publishes."""
    await play.enrol("painter")
    summary = await play.run("painter")
    assert (summary["videos_painted"], summary["failed"]) == (2, 0)
    assert summary["frames"] == sum([len(play.vault.fetch_visual_evidence(name)) for name in play.cast.videos])


async def describe_owned(play: Play) -> None:
    """Captions of the owner's own videos: a token, a list, a download."""
    await play.enrol("scribe")
    summary = await play.run("scribe")
    assert (summary["videos_described"], summary["failed"]) == (2, 0)
    told = [play.vault.fetch_transcript(name) for name in play.cast.videos[:2]]
    assert all(answer is not None and answer["source"] == "owned" for answer in told)
    assert summary["transcripts"] == sum("text" in (answer or {}) for answer in told) > 0


async def describe_library(play: Play) -> None:
    """Captions by youtube-transcript-api: a video's page, the player, timed text."""
    await play.enrol("scribe")
    summary = await play.run("scribe")
    assert (summary["videos_described"], summary["transcripts"], summary["failed"]) == (2, 1, 0)


async def beat(play: Play) -> None:
    """A heartbeat that OPS and a dead man's switch hear of."""
    summary = await play.run("heartbeat")
    assert summary["told"]
    assert summary["pinged"]


async def chain(play: Play) -> None:
    """Hunter, tracker, painter, scribe, janitor: and the timeline has every sample, wherever it lies by then."""
    await play.seed()
    hunted = await play.run("hunter")
    painted = await play.run("painter")
    described = await play.run("scribe")
    found = hunted["videos_discovered"]
    assert (painted["videos_painted"], described["videos_described"]) == (found, found)
    observed, archived = await play.samples(), 0
    for _ in range(3):
        cleaned = await play.run("janitor")  # which keeps partitions ahead for as long
        assert cleaned["samples_archived"] == cleaned["samples_verified"]
        archived += cleaned["samples_archived"]
        play.now.advance(WEEK)
        tracked = await play.run("tracker")
        assert (tracked["samples"] > 0, tracked["failed"]) == (True, 0)
        observed |= await play.samples()
    hot = await play.samples()
    assert 0 < len(hot) < len(observed) == archived + len(hot)
    assert {sample[0] for sample in observed} == set(await play.watched())

    table = await history.timeline(await play.watched(), database=play.database, vault=play.vault)
    rows = table.select(["video_id", "timestamp", "views", "likes", "comment_count"]).to_pylist()
    assert {tuple(row.values()) for row in rows} == observed
    assert len(rows) == len(observed)


@dataclass(frozen=True)
class Scenario:
    """A run to be recorded, the services that it talks to, and settings that it differs by."""

    name: str
    play: Callable[[Play], Awaitable[None]]
    services: tuple[Service, ...]
    settings: Mapping[str, Any] = field(default_factory=dict)
    live: bool = False
    """It needs no more than an API key, and may be recorded of YouTube itself."""


FRUGAL: Mapping[str, Any] = {
    "QUOTA_SEARCH_PER_DAY": 2,
    "QUOTA_STATS_PER_DAY": 4,
    "QUOTA_GENERAL_PER_DAY": 24,
    "HUNTER_FEEDS": 2,
    "VIDEO_STAGES": (),
}
"""What the recordings of YouTube itself may spend, each."""

AMPLE: Mapping[str, Any] = {
    f"QUOTA_{bucket}_PER_DAY": 100_000 for bucket in ("SEARCH", "STATS", "GENERAL")
} | {"HUNTER_NEW_TERMS": 0}  # fmt: skip

SCENARIOS: tuple[Scenario, ...] = (
    Scenario("hunter", hunt, ("youtube",), FRUGAL, live=True),
    Scenario("hunter-tells", hunt, ("youtube", "events"), FRUGAL),
    Scenario("tracker", track, ("youtube",), FRUGAL, live=True),
    Scenario("painter", paint, ("youtube",), {**FRUGAL, "FRAME_WIDTH": 320}, live=True),
    Scenario("scribe-owned", describe_owned, ("youtube", "captions"), AMPLE),
    Scenario("scribe-library", describe_library, ("youtube", "player"), AMPLE),
    Scenario("heartbeat", beat, ("discord", "pings")),
    Scenario("chain", chain, ("youtube", "captions", "events"), {**AMPLE, "FRAME_WIDTH": 320}),
    Scenario("chain-huggingface", chain, ("youtube", "huggingface"), {**AMPLE, "FRAME_SOURCE": "none"}),
    Scenario("chain-gcs", chain, ("youtube", "gcs"), {**AMPLE, "FRAME_SOURCE": "none"}),
    Scenario("chain-s3", chain, ("youtube", "s3"), {**AMPLE, "FRAME_SOURCE": "none"}),
)


# -- Performances -----------------------------------------------------------------------------------------------------


async def record(scenario: Scenario, conninfo: str, folder: Path, into: Path) -> Path:
    """Play a scenario against stand-ins, and write its cassette."""
    cast = Cast.of_world()
    async with _standing_in(scenario, cast) as services:
        return await _record(scenario, cast, services, conninfo, folder, into)


async def record_live(scenario: Scenario, rules: Settings, conninfo: str, folder: Path, into: Path) -> Path:
    """Play a scenario against YouTube, with the first key of ``rules``, and write its cassette.

    Raises:
        ConfigurationError: there is no key.
    """
    cast = real_cast()
    key = rules.api_keys[0].secret
    root = rules.YOUTUBE_API_ENDPOINT.rstrip("/")
    services = Services(
        {"YOUTUBE_API_ENDPOINT": root, "YOUTUBE_API_KEY_POOL_JSON": _pool(key.get_secret_value())},
        rewriting=((key.get_secret_value(), SCRUBBED), *_youtube_rewriting(root)),
    )
    return await _record(scenario, cast, services, conninfo, folder, into)


async def replay(scenario: Scenario, conninfo: str, folder: Path, cassettes: Path) -> Play:
    """Play a scenario against its cassette, without a network.

    Raises:
        CassetteError: they do not agree.
    """
    with replaying(cassettes / f"{scenario.name}.yaml") as tape:
        kept: dict[str, Any] = tape.get_metadata("cast", {})
        cast = Cast(**kept)
        return await _perform(scenario, cast, _real(scenario), conninfo, folder)


async def _record(scenario: Scenario, cast: Cast, services: Services, conninfo: str, folder: Path, into: Path) -> Path:
    path = into / f"{scenario.name}.yaml"
    with recording(path, services.rewriting) as tape:
        tape.get_metadata("cast", asdict(cast))
        await _perform(scenario, cast, services, conninfo, folder)
    return path


async def _perform(scenario: Scenario, cast: Cast, services: Services, conninfo: str, folder: Path) -> Play:
    rules = _rules(folder, {**scenario.settings, **services.settings})
    now = clock.VirtualClock(datetime.fromisoformat(cast.at))
    with ExitStack() as stack:
        stack.enter_context(clock.use(now))
        stack.enter_context(_alone())
        database = DatabaseManager(conninfo)
        stack.enter_context(override(settings_=rules, vault_=services.vault, db_=database))
        from atlas import vault

        async with database:
            play = Play(cast, now, database, vault)
            await scenario.play(play)
    return play


@contextmanager
def _alone() -> Iterator[None]:
    """Let nothing that this process did before have a part in a performance, nor chance."""
    numbers = itertools.count(1)

    def drawn() -> UUID:
        return UUID(int=next(numbers), version=4)

    with (
        mock.patch.dict(vars(notifier), vars(DiscordNotifier()), clear=True),
        mock.patch.dict(vars(breakers), vars(Breakers()), clear=True),
        mock.patch("atlas.vault.base.uuid4", drawn),  # a vault's name
        mock.patch("atlas.vault.huggingface.uuid4", drawn),  # the mark of a commit
        # vcrpy takes its patches off for the length of a blocking request: two at once would get round it.
        mock.patch("atlas.vault.buckets.THREADS", 1),
    ):
        yield


def _rules(folder: Path, changes: Mapping[str, Any]) -> Settings:
    defaults = {name: entry.get_default() for name, entry in Settings.model_fields.items()}
    home = {"PLEIADES_HOME": folder, "LOCAL_VAULT_PATH": folder / "vault", "VAULT_CACHE_DIR": folder / "cache"}
    return Settings.model_construct(**{**defaults, **home, **changes})


def _pool(key: str) -> SecretStr:
    return SecretStr(orjson.dumps([key]).decode())


def _real(scenario: Scenario) -> Services:
    """The services' own addresses, with no secret at all: what a cassette answers for."""
    settings: dict[str, Any] = {}
    vault = None
    for service in scenario.services:
        match service:
            case "youtube":
                settings |= {"YOUTUBE_API_ENDPOINT": YOUTUBE, "YOUTUBE_API_KEY_POOL_JSON": _pool(SCRUBBED)}
            case "captions":
                settings |= _owner(TOKENS)
            case "player":
                settings |= {"TRANSCRIPT_SOURCE": "youtube-transcript-api", "TRANSCRIPTS_PER_MINUTE": 600}
            case "discord":
                settings["DISCORD_WEBHOOK_OPS"] = SecretStr(WEBHOOK)
            case "pings":
                settings["HEARTBEAT_URL"] = SecretStr(PINGS)
            case "events":
                settings["EVENT_BUS_WEBHOOK_URL"] = SecretStr(EVENTS)
            case "huggingface" | "gcs" | "s3":
                vault = _store(service, STORES[service], SCRUBBED)
    return Services(settings, vault)


@asynccontextmanager
async def _standing_in(scenario: Scenario, cast: Cast) -> AsyncIterator[Services]:
    """Start stand-ins for a scenario's services."""
    settings: dict[str, Any] = {}
    rewriting: list[tuple[str, str]] = []
    vault = None
    # Its time is the agents': they all ask the clock of this process.
    youtube = YouTubeStandin(WORLD, clock=clock.now, limits=scenes.AMPLE)
    async with AsyncExitStack() as stack:
        for service in scenario.services:
            match service:
                case "youtube":
                    await stack.enter_async_context(youtube)
                    stack.enter_context(mock.patch("alkyone.standins.youtube.server.thumbnail", _small))
                    settings |= {
                        "YOUTUBE_API_ENDPOINT": youtube.endpoint,
                        "YOUTUBE_API_KEY_POOL_JSON": _pool(youtube.key),
                    }
                    rewriting += [(youtube.key, SCRUBBED), *_youtube_rewriting(youtube.endpoint)]
                case "captions":
                    settings |= _owner(youtube.token_endpoint)
                    rewriting.append((youtube.token_endpoint, TOKENS))
                case "player":
                    player = await stack.enter_async_context(_player(cast))
                    settings |= {"TRANSCRIPT_SOURCE": "youtube-transcript-api", "TRANSCRIPTS_PER_MINUTE": 600}
                    rewriting.append((player.root, HOME))
                    stack.enter_context(_led_to(player))
                case "discord":
                    discord = stack.enter_context(DiscordStandin("ops"))
                    settings["DISCORD_WEBHOOK_OPS"] = SecretStr(discord.address("ops"))
                    rewriting.append((discord.address("ops"), WEBHOOK))
                case "pings":
                    root = stack.enter_context(served(_yes))
                    settings["HEARTBEAT_URL"] = SecretStr(f"{root}/secret-of-the-switch")
                    rewriting.append((f"{root}/secret-of-the-switch", PINGS))
                case "events":
                    root = stack.enter_context(served(_yes))
                    settings["EVENT_BUS_WEBHOOK_URL"] = SecretStr(f"{root}/pleiades")
                    rewriting.append((f"{root}/pleiades", EVENTS))
                case "huggingface":
                    hub = stack.enter_context(HubStandin())
                    vault = _store(service, hub.endpoint, hub.token)
                    rewriting += [(hub.endpoint, STORES[service]), (hub.token, SCRUBBED)]
                    rewriting.append((hub.endpoint.replace("127.0.0.1", "localhost"), "https://cdn-lfs.hf.co"))
                case "gcs":
                    gcs = stack.enter_context(GCSStandin(BUCKET))
                    vault = _store(service, gcs.endpoint, "")
                    rewriting.append((gcs.endpoint, STORES[service]))
                case "s3":
                    root = stack.enter_context(_moto())
                    vault = _store(service, root, "secret")
                    rewriting.append((root, STORES[service]))
        yield Services(settings, vault, rewriting)


def _youtube_rewriting(root: str) -> Rewriting:
    """Where at YouTube is what a stand-in has at one address."""
    if root == YOUTUBE:
        return ()
    return (
        (f"{root}/youtube/", f"{YOUTUBE}/youtube/"),
        (f"{root}/feeds/", f"{HOME}/feeds/"),
        (f"{root}/vi/", f"{IMAGES}/vi/"),
    )


def _small(world: World, video_id: str, wanted: Asked) -> bytes | None:
    """Draw what a cassette has room for: a picture of a few kilobytes."""
    drawn = thumbnail(world, video_id, wanted)
    if drawn is None:
        return None
    out = BytesIO()
    Image.open(BytesIO(drawn)).save(out, "JPEG", quality=20)
    return out.getvalue()


def _owner(tokens: str) -> dict[str, Any]:
    return {
        "TRANSCRIPT_SOURCE": "owned",
        "YOUTUBE_OAUTH_CLIENT_ID": SecretStr(oauth.CLIENT_ID),
        "YOUTUBE_OAUTH_CLIENT_SECRET": SecretStr(oauth.CLIENT_SECRET),
        "YOUTUBE_OAUTH_REFRESH_TOKEN": SecretStr(oauth.REFRESH_TOKEN),
        "YOUTUBE_OAUTH_TOKEN_ENDPOINT": tokens,
    }


def _store(provider: Service, endpoint: str, secret: str) -> VaultStrategy:
    if provider == "huggingface":
        from atlas.vault.huggingface import HuggingFaceVault

        return HuggingFaceVault(REPOSITORY, secret, endpoint=endpoint, commits_per_hour=10**6)
    if provider == "gcs":
        from atlas.vault.gcs import GCSVault

        return GCSVault(BUCKET, endpoint=endpoint)
    from boto3.session import Session

    from atlas.vault.s3 import S3Vault

    return S3Vault(BUCKET, endpoint_url=endpoint, session=Session("key", secret, region_name="us-east-1"))


@contextmanager
def _moto() -> Iterator[str]:
    from boto3.session import Session
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.WARNING)  # it would print every request
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        root = "http://{}:{}".format(*server.get_host_and_port())
        session = Session("key", "secret", region_name="us-east-1")
        session.client("s3", endpoint_url=root).create_bucket(Bucket=BUCKET)
        yield root
    finally:
        server.stop()


def _yes() -> web.Application:
    """Whoever takes any call."""

    async def take(request: web.Request) -> web.Response:
        await request.read()
        return web.Response(status=204)

    app = web.Application()
    app.router.add_route("*", "/{path:.*}", take)
    return app


@asynccontextmanager
async def _player(cast: Cast) -> AsyncIterator[PlayerStandin]:
    """The player's YouTube: something is said in one video, and in the other nothing."""
    said = (
        '<?xml version="1.0" encoding="utf-8" ?><transcript><text start="0.5" dur="2">So it goes.</text></transcript>'
    )
    track = {
        "baseUrl": f"{HOME}/api/timedtext?v={cast.videos[0]}&lang=en",
        "name": {"runs": [{"text": "English"}]},
        "vssId": ".en",
        "languageCode": "en",
        "isTranslatable": False,
    }
    playable: dict[str, Any] = {"playabilityStatus": {"status": "OK"}, "videoDetails": {"videoId": cast.videos[0]}}
    listed = {"captions": {"playerCaptionsTracklistRenderer": {"captionTracks": [track], "translationLanguages": []}}}
    answers = {cast.videos[0]: orjson.dumps(playable | listed), cast.videos[1]: orjson.dumps(playable)}
    async with PlayerStandin(answers, said.encode()) as player:
        yield player


@contextmanager
def _led_to(player: PlayerStandin) -> Iterator[None]:
    """Lead the requests of youtube-transcript-api, which knows one address only, to the stand-in."""
    from maia.scribe.transcripts import library

    original = library.bounded_session

    def led() -> Any:
        session = original()
        bounded: Any = type(session.get_adapter(HOME))

        class Elsewhere(bounded):  # type: ignore[misc]
            def send(self, request: Any, *args: Any, **options: Any) -> Any:
                request.url = request.url.replace(HOME, player.root)
                return super().send(request, *args, **options)

        session.mount("https://", Elsewhere())
        return session

    with mock.patch.object(library, "bounded_session", led):
        yield


def scenarios(names: Sequence[str]) -> list[Scenario]:
    """Find scenarios by name; all where none is given.

    Raises:
        KeyError: there is none of a name.
    """
    known = {scenario.name: scenario for scenario in SCENARIOS}
    return [known[name] for name in names] if names else list(SCENARIOS)
