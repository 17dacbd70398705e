"""Cassettes: each agent's cycle and the chain of all, without a network; and what a cassette promises by itself."""

from __future__ import annotations

import asyncio
import base64
import gzip
import shutil
import socket
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest
import yaml
from typer.testing import CliRunner

from alkyone import scenarios, scrub
from alkyone.__main__ import app
from alkyone.cassettes import FOLDER, CassetteError, no_network, replaying
from alkyone.fixtures import SetEnvironment
from alkyone.scenarios import SCENARIOS, Cast, Scenario
from alkyone.standins.youtube import YouTubeStandin
from atlas import clock

LARGEST = 400_000
"""Bytes of a cassette."""


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_agents_play_on_what_was_recorded_without_a_network(
    scenario: Scenario, conninfo: str, tmp_path: Path
) -> None:
    await scenarios.replay(scenario, conninfo, tmp_path, FOLDER)


def test_every_scenario_has_its_cassette_and_every_cassette_its_scenario() -> None:
    assert sorted(path.stem for path in FOLDER.glob("*")) == sorted(scenario.name for scenario in SCENARIOS)


def test_every_kind_of_call_is_on_a_cassette() -> None:
    said = {
        exchange["request"]["uri"].partition("?")[0]
        for path in FOLDER.glob("*.yaml")
        for exchange in yaml.load(path.read_text(), Loader=yaml.CSafeLoader)["interactions"]
    }
    api = "https://youtube.googleapis.com/youtube/v3"
    for method in ("search", "videos", "videos:batchGetStats", "channels", "playlistItems", "captions"):
        assert f"{api}/{method}" in said
    for beginning in (
        f"{api}/captions/",
        "https://www.youtube.com/feeds/videos.xml",
        "https://www.youtube.com/youtubei/v1/player",
        "https://www.youtube.com/api/timedtext",
        "https://i.ytimg.com/vi/",
        "https://oauth2.googleapis.com/token",
        "https://discord.com/api/webhooks/",
        "https://hc-ping.com/",
        "https://events.example.com/",
        "https://huggingface.co/api/datasets/me/vault/commit/",
        "https://storage.googleapis.com/upload/",
        "https://s3.us-east-1.amazonaws.com/vault/",
    ):
        assert any(uri.startswith(beginning) for uri in said), beginning


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_cassette_holds_no_secret_and_stays_small(path: Path) -> None:
    assert scrub.leaks(path.read_text()) == []
    assert path.stat().st_size <= LARGEST


# Put together here, so that no scanner of repositories takes them for real.
SECRETS = {
    "an API key of Google": "AI" + "za" + "SyD-9tSrke72PouQMnMX-a7eZSW0jkFMBWY",
    "an access token of Google": "ya" + "29.a0AfB_byC-1234567890",
    "a refresh token of Google": "1/" + "/0" + "gabcdefghijklmnopqrstuvwxyz",
    "an OAuth client's secret": "GOC" + "SPX-1234567890abcdef",
    "a token of Hugging Face": "hf" + "_AbCdEfGhIjKlMnOpQrSt",
    "a key of AWS": "AKI" + "A1234567890ABCDEF",
    "a path of a webhook": "/api/web" + "hooks/123456789012345678/AbC-dEf_123",
    "a secret of a webhook": "whs" + "ec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "a parameter that is a secret": "https://example.com/?a=b&k" + "ey=abc123",
    "a signature": "https://example.com/?X-Amz-Sig" + "nature=0123456789abcdef",
    "credentials": "Bea" + "rer 0123456789abcdef",
    "a private key": "-----BEGIN RSA PRI" + "VATE KEY-----",
    "a dead man's switch": "https://hc-p" + "ing.com/5bf66975-d4c7-4bf5-bcc8-b8d8a82ea278",
    "a member that is a secret": '{"client_' + 'secret": "abc"}',
}


def in_address(exchange: dict[str, Any], secret: str) -> None:
    exchange["request"]["uri"] += f"#{secret}"


def in_question(exchange: dict[str, Any], secret: str) -> None:
    exchange["request"]["body"] = f"before {secret} after"


def in_answer(exchange: dict[str, Any], secret: str) -> None:
    exchange["response"]["body"]["string"] = f"before\n{secret}\nafter"


def in_packed_answer(exchange: dict[str, Any], secret: str) -> None:
    exchange["response"]["body"]["string"] = gzip.compress(secret.encode())


def in_a_file_within(exchange: dict[str, Any], secret: str) -> None:
    content = base64.b64encode(f"a file with {secret} in it".encode()).decode()
    exchange["request"]["body"] = orjson.dumps({"content": content})


@pytest.mark.parametrize("plant", [in_address, in_question, in_answer, in_packed_answer, in_a_file_within])
@pytest.mark.parametrize("kind", SECRETS)
def test_a_secret_that_is_planted_is_found(kind: str, plant: Callable[[dict[str, Any], str], None]) -> None:
    cassette = yaml.safe_load((FOLDER / "heartbeat.yaml").read_text())
    plant(cassette["interactions"][0], SECRETS[kind])
    assert kind in scrub.leaks(yaml.safe_dump(cassette))


@pytest.mark.parametrize("name", ["Authorization", "Cookie", "Set-Cookie", "x-amz-security-token", "webhook-signature"])
def test_a_header_that_is_a_secret_is_found(name: str) -> None:
    cassette = yaml.safe_load((FOLDER / "heartbeat.yaml").read_text())
    cassette["interactions"][0]["request"]["headers"][name] = ["something"]
    assert scrub.leaks(yaml.safe_dump(cassette)) == ["a header that is a secret"]


@pytest.mark.parametrize(
    "kind", ["an API key of Google", "an access token of Google", "a token of Hugging Face", "a signature"]
)
def test_what_looks_like_a_secret_is_never_recorded(kind: str) -> None:
    assert SECRETS[kind] not in scrub.text(f"before {SECRETS[kind]} after")


@pytest.fixture
def cassettes(tmp_path: Path) -> Path:
    """A folder with a cassette that may be spoilt."""
    folder = tmp_path / "cassettes"
    folder.mkdir()
    shutil.copy(FOLDER / "heartbeat.yaml", folder)
    return folder


HEARTBEAT = scenarios.scenarios(["heartbeat"])[0]


def spoil(folder: Path, change: Callable[[list[dict[str, Any]]], object]) -> None:
    path = folder / "heartbeat.yaml"
    cassette = yaml.safe_load(path.read_text())
    change(cassette["interactions"])
    path.write_text(yaml.safe_dump(cassette))


async def test_an_answer_that_nobody_asks_for_fails_the_run(cassettes: Path, conninfo: str, tmp_path: Path) -> None:
    spoil(cassettes, lambda said: said.append(said[0]))
    with pytest.raises(CassetteError, match=r"not played: GET https://hc-ping\.com"):
        await scenarios.replay(HEARTBEAT, conninfo, tmp_path, cassettes)


async def test_a_request_that_was_not_recorded_fails_the_run_even_where_its_failure_is_swallowed(
    cassettes: Path, conninfo: str, tmp_path: Path
) -> None:
    def forget(said: list[dict[str, Any]]) -> None:
        said[:] = [exchange for exchange in said if "discord" not in exchange["request"]["uri"]]

    spoil(cassettes, forget)
    with pytest.raises(CassetteError, match=r"not recorded: POST https://discord"):
        await scenarios.replay(HEARTBEAT, conninfo, tmp_path, cassettes)


async def test_a_request_with_another_body_is_another_request(cassettes: Path, conninfo: str, tmp_path: Path) -> None:
    def change(said: list[dict[str, Any]]) -> None:
        for exchange in said:
            exchange["request"]["body"] = (exchange["request"]["body"] or "").replace("Pleiades", "Hyades")

    spoil(cassettes, change)
    with pytest.raises(
        CassetteError, match=r"(?s)not recorded: POST https://discord.*not played: POST https://discord"
    ):
        await scenarios.replay(HEARTBEAT, conninfo, tmp_path, cassettes)


def test_a_cassette_that_is_not_there_is_told_with_the_command_that_makes_it(tmp_path: Path) -> None:
    with pytest.raises(CassetteError, match="alkyone record absent"), replaying(tmp_path / "absent.yaml"):
        pass


async def test_whoever_tries_to_reach_the_network_is_refused_and_named(cassettes: Path) -> None:
    with no_network() as tried:
        with pytest.raises(OSError, match="forbidden"):
            socket.create_connection(("127.0.0.1", 9))
        with socket.socket() as plain, pytest.raises(OSError, match="forbidden"):
            plain.connect(("192.0.2.1", 80))
        with pytest.raises(OSError, match="forbidden"):
            await asyncio.open_connection("192.0.2.1", 80)
        async with aiohttp.ClientSession() as session:
            with pytest.raises(aiohttp.ClientConnectionError):
                await session.get("http://name.invalid/")
    assert len(tried) >= 4
    with (
        pytest.raises(CassetteError, match="tried to reach"),
        replaying(cassettes / "heartbeat.yaml"),
        suppress(OSError),  # as whoever swallows it
    ):
        socket.getaddrinfo("name.invalid", 80)


@pytest.mark.engine
def test_a_recording_made_anew_is_the_same_to_the_byte(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["record", "tracker", "heartbeat", "--into", str(tmp_path)])
    assert done.exit_code == 0, done.output
    assert "tracker: 4 kB; quota: 2 of general, 1 of stats" in done.stdout
    for name in ("tracker.yaml", "heartbeat.yaml"):
        assert (tmp_path / name).read_text() == (FOLDER / name).read_text()


@pytest.mark.engine
async def test_of_youtube_itself_the_same_is_recorded_and_the_key_stays_out(
    settings_env: SetEnvironment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scenarios, "real_cast", Cast.of_world)  # what there is at the YouTube that stands in for it
    key = "AI" + "za" + "SyD-not-a-key-of-anybodys-but-like-one0"
    async with YouTubeStandin(scenarios.WORLD, clock=clock.now, keys={key: "project"}) as youtube:
        settings_env(YOUTUBE_API_ENDPOINT=youtube.endpoint, YOUTUBE_API_KEY_POOL_JSON=f'["{key}"]')
        arguments = ["record", "tracker", "--live", "--into", str(tmp_path)]
        done = await asyncio.to_thread(CliRunner().invoke, app, arguments)
        assert done.exit_code == 0, done.output
        assert sum(sum(used.values()) for days in youtube.quota.usage().values() for used in days.values()) == 3
    recorded = await asyncio.to_thread((tmp_path / "tracker.yaml").read_text)
    assert key not in recorded
    assert recorded == await asyncio.to_thread((FOLDER / "tracker.yaml").read_text)


def test_what_cannot_be_recorded_is_refused(tmp_path: Path) -> None:
    unknown = CliRunner().invoke(app, ["record", "nothing", "--into", str(tmp_path)])
    assert (unknown.exit_code, "there are hunter" in unknown.output) == (2, True)
    needs_more = CliRunner().invoke(app, ["record", "heartbeat", "--live", "--into", str(tmp_path)])
    assert (needs_more.exit_code, "more than an API key" in needs_more.output) == (2, True)
