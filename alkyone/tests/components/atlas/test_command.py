"""The ``atlas`` command, as a person or a script meets it: a process, its output and its exit code."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, NamedTuple

import orjson
import psycopg
import pytest
import typer
from pydantic import SecretStr

from alkyone.environments import bare
from atlas import clock
from atlas.cli import run
from atlas.config import ApiKey, Settings
from atlas.db import DatabaseManager
from atlas.errors import AtlasError, ConfigurationError, DatabaseUnavailable
from atlas.keys import KeyRing
from atlas.quota import QuotaLedger
from atlas.vault import LocalVault

SECRET = "AIzaSySecretSecretSecret"
KEY = ApiKey(SecretStr(SECRET), "moon")


class Done(NamedTuple):
    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)


Atlas = Callable[..., Done]


@pytest.fixture
def atlas(tmp_path: Path) -> Iterator[Atlas]:
    # Not tmp_path: root's is closed to the account that an embedded server runs as.
    with tempfile.TemporaryDirectory(prefix="pleiades-test-") as folder:
        Path(folder).chmod(0o755)

        def call(*arguments: str, **variables: str) -> Done:
            environment = {**bare(), "PLEIADES_HOME": f"{folder}/home", **variables}
            done = subprocess.run(
                [sys.executable, "-W", "error", "-m", "atlas", *arguments],
                env=environment, cwd=tmp_path, capture_output=True, text=True, check=False,
            )  # fmt: skip
            assert SECRET not in done.stdout + done.stderr
            return Done(done.returncode, done.stdout, done.stderr)

        yield call


@pytest.mark.engine
def test_set_up_on_a_fresh_machine_then_healthy(atlas: Atlas) -> None:
    pool = f'["{SECRET}"]'
    report = atlas("setup", "--json").json
    assert report["created"] is True
    assert len(report["partitions"]) > 7
    assert atlas("setup", "--json").json == {**report, "created": False, "partitions": []}
    health = atlas("health", "--json", YOUTUBE_API_KEY_POOL_JSON=pool)
    assert health.code == 0
    assert {name: state["healthy"] for name, state in health.json.items()} == {
        "database": True, "schema": True, "vault": True, "youtube_key": True,
    }  # fmt: skip
    assert "embedded" in health.json["database"]["detail"]


def test_what_is_not_well_fails_and_says_why(atlas: Atlas, database_url: str) -> None:
    health = atlas("health", DATABASE_URL=database_url)
    assert health.code == 1
    assert "✗  youtube_key" in health.out
    assert "✓  database" in health.out


def test_settings_show_without_secrets(atlas: Atlas, database_url: str) -> None:
    shown = atlas(
        "config", "--json",
        DATABASE_URL=f"postgresql://me:{SECRET}@db.example/x", YOUTUBE_API_KEY_POOL_JSON=f'["{SECRET}", "b"]',
        DISCORD_WEBHOOK_OPS=SECRET,
    ).json  # fmt: skip
    assert sorted(shown) == sorted(Settings.model_fields)
    assert re.fullmatch("●●● [0-9a-f]{12} x at db.example:5432", shown["DATABASE_URL"])
    assert KEY.fingerprint in shown["YOUTUBE_API_KEY_POOL_JSON"]
    assert shown["DISCORD_WEBHOOK_OPS"] == f"●●● {KEY.fingerprint}"
    assert shown["DISCORD_WEBHOOK_HUNT"] is None
    assert "QUOTA_SEARCH_PER_DAY" in atlas("config", DATABASE_URL=database_url).out


async def test_quota_shows_what_was_used_and_puts_a_key_back_to_work(
    atlas: Atlas, database_url: str, database: DatabaseManager
) -> None:
    ring = KeyRing("test", keys=[KEY], database=database)
    await ring.live()
    await QuotaLedger(database, {"search": 100, "stats": 10, "general": 10}).reserve("moon", "search", 7)
    assert await ring.disable(KEY, "API_KEY_INVALID")

    found = atlas("quota", "--json", DATABASE_URL=database_url).json
    search = next(used for used in found["usage"] if used["bucket"] == "search")
    assert (search["project"], search["used"], search["left"]) == ("moon", 7, 93)
    assert [(key["fingerprint"], key["live"]) for key in found["keys"]] == [(KEY.fingerprint, False)]
    shown = atlas("quota", DATABASE_URL=database_url)
    assert "Reset in" in shown.out
    assert "API_KEY_INVALID" in shown.out

    assert atlas("quota", "enable", KEY.fingerprint, DATABASE_URL=database_url).code == 0
    assert await ring.live() == [KEY]
    assert atlas("quota", "enable", KEY.fingerprint, DATABASE_URL=database_url).code == 1


def test_the_vault_is_listed_verified_compacted_pruned_and_indexed_anew(
    atlas: Atlas, database_url: str, conninfo: str, tmp_path: Path
) -> None:
    place = {"DATABASE_URL": database_url, "LOCAL_VAULT_PATH": str(tmp_path / "vault")}
    vault = LocalVault(tmp_path / "vault")
    long_ago = clock.now() - timedelta(days=9)
    for number in range(3):
        vault.append_metrics([{"video_id": f"v{number}", "timestamp": long_ago, "views": number}])
    day = f"{long_ago:%Y-%m-%d}"

    def indexed() -> list[str]:
        with psycopg.connect(conninfo) as conn:
            return [row[0] for row in conn.execute("SELECT path FROM vault_manifest ORDER BY path")]

    assert atlas("vault", "reindex", "--json", **place).json == {"proven": 3, "added": 3, "dropped": 0, "problems": []}
    assert indexed() == [shard.path for shard in vault.shards("metrics")]
    listed = atlas("vault", "ls", "--json", **place).json["kinds"]["metrics"]
    assert (listed["shards"], listed["rows"], listed["days"]) == (3, 3, 1)

    promised = atlas("vault", "compact", "--dry-run", "--json", **place).json
    done = atlas("vault", "compact", "--json", **place).json
    assert promised == {**done, "dry_run": True}
    assert done["days"] == [{"kind": "metrics", "day": day, "shards": 3}]
    (merged,) = LocalVault(vault.root).shards("metrics")
    assert indexed() == [merged.path]
    assert merged.path in atlas("vault", "ls", "--shards", COLUMNS="200", **place).out
    assert len(atlas("vault", "prune", "--json", **place).json["waiting"]) == 3
    whole = atlas("vault", "verify", "--json", **place)
    assert (whole.code, whole.json["problems"]) == (0, [])

    file = vault.root / merged.path
    file.write_bytes(file.read_bytes()[:-1])
    for arguments in (["verify"], ["verify", "--vault-only"], ["reindex"]):
        found = atlas("vault", *arguments, "--json", **place)
        assert (found.code, [(p["path"], p["problem"]) for p in found.json["problems"]]) == (
            1,
            [(merged.path, "altered")],
        )
    shutil.rmtree(vault.root)
    lost = atlas("vault", "verify", COLUMNS="200", **place)
    assert (lost.code, "missing" in lost.out, merged.path in lost.out) == (1, True, True)
    swapped = atlas("vault", "reindex", "--drop-missing", **place)
    assert (swapped.code, "is not the one" in swapped.err) == (2, True), "an empty folder in its place is another vault"
    assert atlas("vault", "adopt", **place).code == 0
    assert atlas("vault", "reindex", **place).code == 1
    assert indexed() == [merged.path], "what is lost stays an alarm"
    assert atlas("vault", "reindex", "--drop-missing", **place).code == 1
    assert indexed() == []


@pytest.mark.parametrize(
    ("arguments", "variables", "says"),
    [
        pytest.param(["config"], {"YOUTUBE_API_KEY_POOL_JSON": f"[{SECRET}"}, "not valid JSON", id="bad JSON"),
        pytest.param(["health"], {"VAULT_PROVIDER": "dropbox"}, "VAULT_PROVIDER", id="unknown provider"),
        pytest.param(["quota"], {"DATABASE_URL": f"postgres://me:{SECRET}@127.0.0.1:9/x"}, "port 9", id="nobody there"),
        pytest.param(["setup"], {"DATABASE_URL": f"postgresql://me:{SECRET}%zz@h/x"}, "DATABASE_URL", id="no address"),
        pytest.param(["setup"], {"ENV": "prod"}, "DATABASE_URL is not set", id="prod"),
        pytest.param(["quota"], {"PLEIADES_HOME": "/proc/pleiades"}, "PLEIADES_HOME", id="a home nobody can make"),
    ],
)
def test_wrong_settings_are_one_line_and_exit_code_2(
    arguments: list[str], variables: dict[str, str], says: str, atlas: Atlas
) -> None:
    done = atlas(*arguments, **variables)
    assert done.code == 2
    assert done.out == ""
    assert done.err.startswith("error: ")
    assert done.err.count("\n") == 1
    assert says in done.err


def test_a_database_that_nobody_set_up_is_told_how(atlas: Atlas, database_url: str, conninfo: str) -> None:
    with psycopg.connect(conninfo) as conn:
        conn.execute("DROP TABLE schema_migrations")
    done = atlas("quota", DATABASE_URL=database_url)
    assert (done.code, done.err) == (2, "error: the database has no schema yet: run atlas setup\n")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        pytest.param(ConfigurationError("mend\nit"), 2, id="wrong settings"),
        pytest.param(DatabaseUnavailable("mend it"), 1, id="a failure"),
        pytest.param(ExceptionGroup("", [ExceptionGroup("", [AtlasError("mend it")])]), 1, id="out of a task group"),
    ],
)
def test_an_error_of_ours_becomes_a_line_and_an_exit_code(
    error: Exception, code: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise error

    monkeypatch.setattr(sys, "argv", ["fail"])
    with pytest.raises(SystemExit) as caught:
        run(app)
    assert caught.value.code == code
    assert capsys.readouterr().err == "error: mend it\n"


def test_a_bug_keeps_its_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    app = typer.Typer(pretty_exceptions_enable=False)

    @app.command()
    def fail() -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(sys, "argv", ["fail"])
    with pytest.raises(ZeroDivisionError):
        run(app)


@pytest.mark.parametrize(
    ("program", "unwanted"),
    [
        pytest.param("import atlas", "psycopg pyarrow aiohttp prefect tenacity rich typer psutil", id="atlas"),
        pytest.param("import atlas.cli", "psycopg pyarrow aiohttp prefect", id="the atlas command"),
        pytest.param("import maia", "psycopg pyarrow aiohttp prefect", id="maia"),
    ],
)
def test_an_import_loads_nothing_heavy_and_needs_no_environment(program: str, unwanted: str, tmp_path: Path) -> None:
    check = f"{program}, sys\nprint(*(set({unwanted.split()}) & set(sys.modules)))"
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", check],
        env={"YOUTUBE_API_KEY_POOL_JSON": "[", "DATABASE_URL": "x", "ENV": "x"},
        cwd=tmp_path, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert done.stdout.strip() == ""


def test_the_clock_of_the_process_is_the_one_clock() -> None:
    before = clock.now()
    with clock.stopped(before + timedelta(days=9)) as virtual:
        virtual.advance(timedelta(days=1))
        assert clock.now() == before + timedelta(days=10)
    assert clock.now() < before + timedelta(days=1)


# -- Events -----------------------------------------------------------------------------------------------------------


@pytest.mark.engine
def test_the_newest_events_are_shown_oldest_first(atlas: Atlas, database_url: str, conninfo: str) -> None:
    with psycopg.connect(conninfo) as conn:
        for number in range(4):
            conn.execute(
                "INSERT INTO system_events (event_type, entity_id, payload, created_at)"
                " VALUES (%s, %s, '{\"n\": 1}', '2026-11-10 12:00+00')",
                ["video.viral" if number % 2 else "key.disabled", f"entity {number}"],
            )
    shown = atlas("events", "tail", "--type", "video.*", "--json", DATABASE_URL=database_url)
    assert [orjson.loads(line)["entity_id"] for line in shown.out.splitlines()] == ["entity 1", "entity 3"]
    lines = atlas("events", "tail", "--last", "1", DATABASE_URL=database_url).out.splitlines()
    assert [" ".join(line.split()) for line in lines] == ['2026-11-10 12:00:00 video.viral entity 3 {"n":1}']


@pytest.mark.engine
def test_a_log_is_replayed_into_a_database_that_is_empty_and_into_no_other(
    atlas: Atlas, database_url: str, conninfo: str, empty_conninfo: str
) -> None:
    with psycopg.connect(conninfo) as conn:
        conn.execute(
            "INSERT INTO system_events (event_type, payload, created_at)"
            " VALUES ('terms.added', '{\"terms\": [\"a\", \"b\"]}', '2026-11-10'),"
            " ('terms.added', '{\"terms\": [\"c\"]}', '2026-11-12')"
        )
    name = re.search(r"dbname=(\S+)", conninfo)
    other = re.search(r"dbname=(\S+)", empty_conninfo)
    assert name
    assert other
    into = database_url.replace(name[1], other[1])

    done = atlas("events", "replay", "--into", into, "--until", "2026-11-11", "--json", DATABASE_URL=database_url)

    assert done.json == {"events": 1, "channels": 0, "videos": 0, "watchlist": 0, "search_queue": 2}, done.err
    again = atlas("events", "replay", "--into", into, DATABASE_URL=database_url)
    assert (again.code, "not empty" in again.err) == (2, True)
    assert atlas("events", "replay", "--into", "http://x", DATABASE_URL=database_url).code == 2


@pytest.mark.engine
def test_without_a_webhook_delivering_is_a_setting_to_mend(atlas: Atlas, database_url: str) -> None:
    done = atlas("events", "deliver", DATABASE_URL=database_url)
    assert (done.code, "EVENT_BUS_WEBHOOK_URL is not set" in done.err) == (2, True)
    assert atlas("events", "resend", "--list", "--json", DATABASE_URL=database_url).json == {"letters": []}
