"""The operator's own caption files: found by their names, read, and nothing else of the machine with them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from maia.scribe.transcripts import MalformedTranscript, NoTranscript, Segment, SourceFailed, Transcript, Wanted
from maia.scribe.transcripts.folder import FolderSource

VIDEO = "GJLlxj_dtq8"
WANTED = Wanted(VIDEO, "UC" + "x" * 22, "en")
VTT = "WEBVTT\n\n00:01.000 --> 00:02.000\n{}\n"


def write(folder: Path, **texts: str) -> FolderSource:
    for name, text in texts.items():
        form = name.rpartition("__")[2]
        body = VTT if form == "vtt" else "1\n00:00:01,000 --> 00:00:02,000\n{}\n" if form == "srt" else "{}"
        (folder / f"{VIDEO}{name.replace('__', '.')}").write_text(body.format(text))
    return FolderSource(folder)


async def test_a_file_is_found_and_read(tmp_path: Path) -> None:
    source = write(tmp_path, __en__vtt="hello")
    said = await source.fetch(WANTED)
    assert said == Transcript("en", (Segment(1.0, 1.0, "hello"),), None, "folder")


@pytest.mark.parametrize(
    ("files", "language", "expected"),
    [
        pytest.param({"__de__vtt": "hallo", "__en__srt": "hello"}, "en", ("en", "hello"), id="its language"),
        pytest.param({"__de__vtt": "hallo", "__en-GB__srt": "hello"}, "en", ("en-GB", "hello"), id="its kin"),
        pytest.param({"__srt": "hello"}, "en", ("und", "hello"), id="no language in its name"),
        pytest.param({"__de__vtt": "hallo"}, None, ("de", "hallo"), id="no language known"),
        pytest.param({"__en__srt": "b", "__en__vtt": "a"}, "en", ("en", "a"), id="two forms: the one that says more"),
    ],
)
async def test_the_file_that_says_best_what_is_said_is_read(
    tmp_path: Path, files: dict[str, str], language: str | None, expected: tuple[str, str]
) -> None:
    said = await write(tmp_path, **files).fetch(WANTED._replace(language=language))
    assert isinstance(said, Transcript)
    assert (said.language, said.text) == expected


async def test_no_file_is_an_answer(tmp_path: Path) -> None:
    (tmp_path / "another_one.vtt").write_text(VTT)
    assert await write(tmp_path).fetch(WANTED) == NoTranscript("no file", "folder")


async def test_a_file_in_which_nothing_is_said_is_an_answer(tmp_path: Path) -> None:
    assert await write(tmp_path, __vtt=" ").fetch(WANTED) == NoTranscript("nothing is said", "folder")


async def test_a_saved_answer_of_the_player_says_why(tmp_path: Path, recorded_data: Path) -> None:
    captions = recorded_data / "youtube" / "captions"
    shutil.copy(captions / "yta_youtube_transcripts_disabled.innertube.json", tmp_path / f"{VIDEO}.json")
    assert await FolderSource(tmp_path).fetch(WANTED) == NoTranscript("captions are disabled", "folder")
    shutil.copy(captions / "yta_youtube.innertube.json", tmp_path / f"{VIDEO}.json")
    listed = await FolderSource(tmp_path).fetch(WANTED)
    assert listed == NoTranscript("no file; the player lists zh, cs, en, en, de, hi, ja, ko, es", "folder")


@pytest.mark.parametrize("name", [f"{VIDEO}.en.vtt", f"{VIDEO}.json"])
async def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("<html>Sorry</html>")
    with pytest.raises(MalformedTranscript, match=name):
        await FolderSource(tmp_path).fetch(WANTED)


async def test_a_folder_that_is_not_there_could_not_be_looked_into(tmp_path: Path) -> None:
    with pytest.raises(SourceFailed, match="No such file"):
        await FolderSource(tmp_path / "unmounted").fetch(WANTED)


async def test_nothing_outside_of_the_folder_is_read(tmp_path: Path) -> None:
    folder, outside = tmp_path / "captions", tmp_path / f"{VIDEO}.en.vtt"
    (folder / "below").mkdir(parents=True)
    outside.write_text(VTT.format("secret"))
    (folder / f"{VIDEO}.en.vtt").symlink_to(outside)
    (folder / "below" / f"{VIDEO}.en.vtt").write_text(VTT.format("secret"))
    (folder / f"{VIDEO}.de.vtt").mkdir()
    source = FolderSource(folder)
    for video_id in (VIDEO, f"../{VIDEO}", f"below/{VIDEO}", "*", ""):
        assert await source.fetch(WANTED._replace(video_id=video_id)) == NoTranscript("no file", "folder")
