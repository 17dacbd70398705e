"""The docs: whole, true of the code as it stands, and their examples run."""

from __future__ import annotations

import ast
import configparser
import json
import os
import re
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import typer.main

import alkyone.__main__
import atlas.cli
import maia.cli
from alkyone.databases import NOON
from alkyone.invariants import INVARIANTS
from atlas.config import Settings
from atlas.events.catalogue import CATALOGUE
from atlas.vault import LocalVault
from maia.up import part

ROOT = Path(__file__).parents[2]
REFERENCE = ROOT / "docs" / "reference.md"
PAGES = sorted(
    [*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")]
    + [page for member in ("atlas", "maia", "alkyone") for page in (ROOT / member).glob("**/README.md")]
)
PROGRAMS = {
    "maia": typer.main.get_command(maia.cli.app),
    "atlas": typer.main.get_command(atlas.cli.app),
    "alkyone": typer.main.get_command(alkyone.__main__.app),
}

# Whom a page may link to. A host that serves packages is none of them: how to install is the reader's own matter.
HOSTS = {
    "127.0.0.1",
    "arxiv.org",
    "developers.google.com",
    "docs.astral.sh",
    "doi.org",
    "huggingface.co",
    "keepachangelog.com",
    "oauth2.googleapis.com",
    "semver.org",
    "youtu.be",
    "youtube.googleapis.com",
}

_FENCE = re.compile(
    r"(?:<!-- not run: (?P<excuse>[^>]+) -->\n\n?)?^```(?P<language>\w+)\n(?P<code>.*?)^```$", re.M | re.S
)
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_HEADING = re.compile(r"^#{1,6} (.+)$", re.M)


class Example(NamedTuple):
    """A fenced block; ``excuse`` says why it cannot run here."""

    page: Path
    number: int
    language: str
    code: str
    excuse: str | None


def examples(page: Path, language: str) -> list[Example]:
    blocks = (match for match in _FENCE.finditer(page.read_text()) if match["language"] == language)
    return [Example(page, n, language, match["code"], match["excuse"]) for n, match in enumerate(blocks, 1)]


def named(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


# -- Whole ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in _LINK.findall(_without_code(page.read_text())):
        if "://" in target:
            continue
        path, _, anchor = target.partition("#")
        linked = (page.parent / path).resolve() if path else page
        assert linked.exists(), f"{named(page)} links to {target}"
        if anchor:
            assert anchor in map(_anchor, _HEADING.findall(linked.read_text())), f"{named(page)} links to {target}"


def test_every_page_can_be_reached_from_the_readme() -> None:
    found = {ROOT / "README.md"}
    ahead = list(found)
    while ahead:
        page = ahead.pop()
        links = (link.partition("#")[0] for link in _LINK.findall(page.read_text()) if "://" not in link)
        new = {target for link in links if (target := (page.parent / link).resolve()) in PAGES} - found
        found |= new
        ahead += new
    assert [named(page) for page in PAGES if page not in found] == []


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_a_page_names_no_package_index_and_no_path_of_a_machine(page: Path) -> None:
    text = page.read_text()
    assert set(re.findall(r"https?://([^/\s:)\"'`<>]+)", text)) <= HOSTS
    assert re.findall(r"(?<![\w.~$}])/(?:home|root|tmp|Users|work|mnt)/\S*", text) == []


def _without_code(text: str) -> str:
    return re.sub(r"`[^`\n]*`", "", _FENCE.sub("", text))


def _anchor(heading: str) -> str:
    plain = re.sub(r"[`*]|\[([^\]]*)\]\([^)]*\)", r"\1", heading)
    return re.sub(r"[^\w\- ]", "", plain.lower()).replace(" ", "-")


# -- True of the code -------------------------------------------------------------------------------------------------


def settings_table() -> str:
    rows = ["| setting | default | what it is |", "|---|---|---|"]
    for name, field in Settings.model_fields.items():
        default = "" if field.default is None else f"`{_plain(field.default)}`"
        rows.append(f"| `{name}` | {default} | {(field.description or '').replace('|', chr(92) + '|')} |")
    return "\n".join(rows)


def events_table() -> str:
    rows = ["| event type | entity | payload | when |", "|---|---|---|---|"]
    for name, payload in CATALOGUE.items():
        fields = (f"`{key}`" if field.is_required() else f"[`{key}`]" for key, field in payload.model_fields.items())
        rows.append(f"| `{name}` | {payload.entity} | {' '.join(fields)} | {payload.when} |")
    return "\n".join(rows)


def invariants_table() -> str:
    rows = ["| invariant | promise | looked for in |", "|---|---|---|"]
    rows += [f"| `{name}` | {promise} | {scope} |" for name, promise, scope in INVARIANTS]
    return "\n".join(rows)


def commands_table() -> str:
    rows = ["| command | what it does | options |", "|---|---|---|"]
    for words, command in commands():
        arguments = [shown_argument(param) for param in command.params if param.param_type_name == "argument"]
        options = [max(param.opts, key=len) for param in command.params if param.param_type_name == "option"]
        line = " ".join([*words, *arguments])
        rows.append(f"| `{line}` | {' '.join((command.help or '').split())} | {' '.join(f'`{o}`' for o in options)} |")
    return "\n".join(rows)


@pytest.mark.parametrize(
    ("page", "name", "table"),
    [
        pytest.param("reference.md", "settings", settings_table, id="settings"),
        pytest.param("reference.md", "commands", commands_table, id="commands"),
        pytest.param("testing.md", "invariants", invariants_table, id="invariants"),
        pytest.param("events.md", "event types", events_table, id="event types"),
    ],
)
def test_a_table_of_the_docs_says_everything_in_the_programs_own_words(
    page: str, name: str, table: Callable[[], str]
) -> None:
    found = re.search(rf"<!-- {name} -->\n(.*?)\n<!-- end -->", (ROOT / "docs" / page).read_text(), re.S)
    assert found, f"docs/{page} has no place for {name}"
    assert found[1] == table(), f"docs/{page} is to say, between <!-- {name} --> and <!-- end -->:\n\n{table()}"


def test_the_catalogue_knows_every_event_type_that_the_code_records_and_no_other() -> None:
    assert recorded_event_types() == set(CATALOGUE)


def test_the_reference_lists_every_table() -> None:
    schema = (ROOT / "atlas/src/atlas/schema.sql").read_text()
    tables = {name for name in re.findall(r"^CREATE TABLE (\w+)", schema, re.M) if not name.endswith("_default")}
    section = REFERENCE.read_text().partition("\n## Tables")[2].partition("\n## ")[0]
    assert set(re.findall(r"`(\w+)`", "\n".join(re.findall(r"^\|([^|]*)\|", section, re.M)))) == tables


def test_operations_lists_every_deployment_with_its_schedule() -> None:
    section = (ROOT / "docs/operations.md").read_text()
    deployments = re.findall(r"- name: (\w+)\n.*?cron: \"([^\"]+)\"", (ROOT / "prefect.yaml").read_text(), re.S)
    assert deployments
    for name, cron in deployments:
        assert f"| `{name}` | `{cron}` |" in section


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_command_line_shown_is_one_the_programs_take(page: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.M))
    for line in shown_lines(page):
        words = shlex.split(line, comments=True)
        while words and (words[0] in {"uv", "run"} or re.fullmatch(r"[A-Z_]+=.*", words[0])):
            words.pop(0)
        if words[:1] == ["make"]:
            assert set(words[1:]) <= targets, line
        elif words and words[0] in PROGRAMS:
            refuse_unknown(words, line)


def shown_lines(page: Path) -> Iterator[str]:
    """Command lines: those of shell blocks, and those that stand in running text between backticks."""
    for example in examples(page, "sh"):
        yield from (line.strip().removesuffix("&") for line in example.code.replace("\\\n", " ").splitlines())
    text = _FENCE.sub("", page.read_text())
    yield from re.findall(r"`((?:uv run |make |maia |atlas |alkyone )[^`\n]+)`", text)


def refuse_unknown(words: Sequence[str], line: str) -> None:
    command: Any = PROGRAMS[words[0]]
    rest = list(words[1:])
    while hasattr(command, "commands") and rest and not rest[0].startswith("-"):
        found = command.commands.get(rest.pop(0))
        assert found is not None, f"no such command: {line}"
        command = found
    options = {name for param in command.params for name in (*param.opts, *param.secondary_opts)} | {"--help"}
    assert {word.partition("=")[0] for word in rest if word.startswith("--")} <= options, f"no such option: {line}"


def commands() -> Iterator[tuple[list[str], Any]]:
    def below(words: list[str], command: Any) -> Iterator[tuple[list[str], Any]]:
        if not hasattr(command, "commands"):
            yield words, command
            return
        if command.invoke_without_command and len(words) > 1:
            yield words, command
        for name, child in command.commands.items():
            yield from below([*words, name], child)

    for program, command in PROGRAMS.items():
        yield from below([program], command)


def recorded_event_types() -> set[str]:
    """The event types in calls of ``Event(…)``, ``Queued(…)``, ``….emit(…)`` and whatever is named for recording."""
    found: set[str] = set()
    for file in [*(ROOT / "atlas/src").rglob("*.py"), *(ROOT / "maia/src").rglob("*.py")]:
        module = ast.parse(file.read_text())
        named = {getattr(line.targets[0], "id", ""): line.value for line in module.body if isinstance(line, ast.Assign)}
        for call in (node for node in ast.walk(module) if isinstance(node, ast.Call)):
            name = call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")
            if name in {"Event", "Queued", "emit"} or "record" in name:
                values = [named.get(getattr(arg, "id", ""), arg) for arg in call.args[:2]]
                constants = [str(value.value) for value in values if isinstance(value, ast.Constant)]
                found.update(text for text in constants if re.fullmatch(r"[a-z]+\.[a-z_]+", text))
    return found


def shown_argument(argument: Any) -> str:
    name = (argument.metavar or argument.name).upper().removesuffix("S" if argument.nargs != 1 else "")
    name += "…" if argument.nargs != 1 else ""
    return name if argument.required else f"[{name}]"


def _plain(default: Any) -> str:
    if isinstance(default, bool):
        return str(default).lower()
    return json.dumps(default) if isinstance(default, tuple) else str(default)


def test_the_unit_for_systemd_is_one_that_agrees_with_the_exit_codes(tmp_path: Path) -> None:
    (unit,) = examples(ROOT / "docs/operations.md", "ini")
    parsed = configparser.RawConfigParser(interpolation=None)
    parsed.optionxform = str
    parsed.read_string(unit.code)
    service = parsed["Service"]

    refuse_unknown(["maia", *shlex.split(service["ExecStart"])[1:]], service["ExecStart"])
    assert Path(shlex.split(service["ExecStart"])[0]).name == "maia"
    assert service["RestartPreventExitStatus"] == "2", "wrong settings are not mended by another start"
    assert int(service["TimeoutStopSec"]) > 2 * part.STOP_TIMEOUT_S, "the worker, then the server"
    if analyze := shutil.which("systemd-analyze"):
        file = tmp_path / "pleiades.service"
        file.write_text(
            unit.code.replace("/srv/pleiades/.venv/bin/maia", sys.executable).replace("User=pleiades\n", "")
        )
        done = subprocess.run([analyze, "verify", file], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr


# -- Running ----------------------------------------------------------------------------------------------------------

PYTHON = [example for page in PAGES for example in examples(page, "python")]
EXAMPLE_VIDEO = "dQw4w9WgXcQ"
"""The video whose curve the examples read."""


def test_every_example_in_python_is_one_that_runs() -> None:
    assert PYTHON
    assert [example for example in PYTHON if example.excuse] == []


@pytest.mark.engine
@pytest.mark.parametrize("example", PYTHON, ids=lambda example: f"{named(example.page)} {example.number}")
def test_the_examples_in_python_run(example: Example, database_url: str, tmp_path: Path) -> None:
    vault = LocalVault(tmp_path / "vault")
    vault.append_metrics(curve(NOON - timedelta(days=20)))
    program = tmp_path / "test_example.py"
    program.write_text(example.code)
    command = ["-m", "pytest", "-q", "-p", "alkyone.fixtures", "-p", "no:cacheprovider", "--asyncio-mode=auto"]
    done = subprocess.run(
        [sys.executable, *(command if "def test_" in example.code or "Contract" in example.code else []), program],
        env=environment(tmp_path, DATABASE_URL=database_url, LOCAL_VAULT_PATH=str(vault.root)),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.engine
def test_the_quickstart_runs_as_it_is_written() -> None:
    standin, by_hand = (example for example in examples(ROOT / "docs/quickstart.md", "sh") if not example.excuse)
    # Not below tmp_path: root's is closed to the account that the database server runs as.
    home = Path(tempfile.mkdtemp(prefix="pleiades-test-quickstart-"))
    home.chmod(0o711)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = str(probe.getsockname()[1])
    server = shell(standin.code.replace("8787", port), home)
    try:
        assert server.stdout is not None
        assert port in (greeting := server.stdout.readline()), greeting
        agents = shell(by_hand.code.replace("8787", port), home)
        output, _ = agents.communicate(timeout=240)
        assert agents.returncode == 0, output
        assert int(re.search(r"videos discovered +([\d,]+)", output)[1].replace(",", "")) > 0, output  # type: ignore[index]
    finally:
        os.killpg(server.pid, signal.SIGTERM)
        server.communicate(timeout=30)
        shutil.rmtree(home, ignore_errors=True)


def shell(code: str, home: Path) -> subprocess.Popen[str]:
    return subprocess.Popen(
        ["bash", "-euo", "pipefail", "-c", code],
        env=environment(home),
        cwd=home,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def environment(home: Path, **more: str) -> dict[str, str]:
    """The environment of somebody who has set nothing, with our commands on the path."""
    ours = {name: value for name, value in os.environ.items() if name not in Settings.model_fields}
    path = os.pathsep.join([str(Path(sys.executable).parent), ours.get("PATH", "")])
    return ours | {"HOME": str(home), "PATH": path, "PLEIADES_HOME": str(home / ".pleiades")} | more


def curve(start: datetime) -> list[dict[str, Any]]:
    hours = (start + timedelta(hours=n) for n in range(48))
    return [
        {"video_id": EXAMPLE_VIDEO, "timestamp": at, "views": 1_000 + 40 * n, "likes": 10 + n, "comment_count": None}
        for n, at in enumerate(hours)
    ]


def test_the_promises_of_a_vault_are_listed() -> None:
    from atlas.testing import VaultContract

    tests = [name for name in vars(VaultContract) if name.startswith("test_")]
    promises = [name.removeprefix("test_").replace("_", " ") for name in tests]
    text = (ROOT / "docs" / "testing.md").read_text(encoding="utf-8")
    listed = text.partition("<!-- vault promises -->")[2].partition("<!-- end -->")[0]
    assert re.findall(r"^- (.+)$", listed, re.MULTILINE) == promises


def metrics_table() -> str:
    from atlas.metrics import MEASURES

    rows = ["| metric | labels | what it tells |", "|---|---|---|"]
    for measure in MEASURES:
        labels = " ".join(f"`{label}`" for label in measure.labels)
        rows.append(f"| `{measure.name}` | {labels} | {measure.help} |")
    return "\n".join(rows)


def test_every_metric_is_listed_in_its_own_words() -> None:
    page = (ROOT / "docs" / "monitoring" / "README.md").read_text(encoding="utf-8")
    listed = page.partition("<!-- metrics -->\n")[2].partition("\n<!-- end -->")[0]
    assert listed == metrics_table(), f"docs/monitoring/README.md is to say:\n\n{metrics_table()}"
