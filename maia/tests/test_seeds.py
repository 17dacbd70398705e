"""What ``maia seed`` takes for a term, a channel, a chart."""

from __future__ import annotations

from pathlib import Path

import pytest
import typer

from maia.cli.seeds import Seeds, chart_of, term_of

NASA = "UCLA_DiR1FfKNvjuUpBHmylQ"


@pytest.mark.parametrize(
    "text",
    [
        NASA,
        f" {NASA} ",
        f"https://www.youtube.com/channel/{NASA}",
        f"http://m.youtube.com/channel/{NASA}/videos?view=0",
        f"youtube.com/channel/{NASA}",
    ],
)
def test_a_channel_is_known_by_its_id_or_address(text: str) -> None:
    seeds = Seeds()
    seeds.add_channel(text)
    assert (seeds.channels, seeds.handles) == ([NASA], [])


@pytest.mark.parametrize("text", ["@NASA", "https://www.youtube.com/@NASA", "youtube.com/@NASA/shorts"])
def test_a_channel_is_known_by_its_handle(text: str) -> None:
    seeds = Seeds()
    seeds.add_channel(text)
    assert (seeds.channels, seeds.handles) == ([], ["@NASA"])


@pytest.mark.parametrize(
    "text", ["", "NASA", NASA[:-1], "@", "https://www.youtube.com/c/NASA", f"https://example.com/channel/{NASA}"]
)
def test_what_is_no_channel_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no channel"):
        Seeds().add_channel(text)


@pytest.mark.parametrize(("text", "chart"), [("us", "US"), ("DE:10", "DE:10")])
def test_a_chart_is_a_region_and_perhaps_a_category(text: str, chart: str) -> None:
    assert chart_of(text) == chart


@pytest.mark.parametrize("text", ["", "USA", "U", "US:", "US:music", "10"])
def test_what_is_no_chart_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no chart"):
        chart_of(text)


@pytest.mark.parametrize("text", ["", "  ", "x" * 201])
def test_what_is_no_term_is_refused(text: str) -> None:
    with pytest.raises(typer.BadParameter, match="is no search term"):
        term_of(text)


def test_a_file_has_a_seed_a_line(tmp_path: Path) -> None:
    file = tmp_path / "seeds.txt"
    file.write_text(
        f"\ufeff# ours\nlofi beats\n\nc# tutorial  # a language\n{NASA} # NASA\nyoutube.com/@NASA\n", "utf-8"
    )
    seeds = Seeds()
    seeds.read(file)
    assert seeds == Seeds(["lofi beats", "c# tutorial"], [NASA], ["@NASA"])


def test_every_bad_line_of_a_file_is_named(tmp_path: Path) -> None:
    file = tmp_path / "seeds.txt"
    file.write_text(f"jazz\nhttps://www.youtube.com/watch?v=dQw4w9WgXcQ\n\n{'x' * 201}\n", "utf-8")
    with pytest.raises(
        typer.BadParameter, match=r"nothing was added .*line 2: .*is no channel.*line 4: .*no search term"
    ):
        Seeds().read(file)


def test_a_file_that_is_no_text_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "seeds.txt"
    file.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(typer.BadParameter, match="cannot be read as text"):
        Seeds().read(file)
