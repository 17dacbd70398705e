"""The operator's own caption files, in a folder."""

from __future__ import annotations

import asyncio
import os
import re
from collections import defaultdict
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, cast

from maia.scribe.transcripts.formats import FORMATS, MAX_BYTES, Format, parse
from maia.scribe.transcripts.model import (
    UNKNOWN,
    MalformedTranscript,
    NoTranscript,
    SourceFailed,
    Track,
    Transcript,
    Wanted,
    choose,
)
from maia.scribe.transcripts.player import read_player

_NAME = re.compile(rf"([\w-]{{11}})(?:\.([A-Za-z][\w-]*))?\.({'|'.join(FORMATS)}|json)", re.ASCII)


class _File(NamedTuple):
    """A caption file, by its name."""

    name: str
    language: str
    form: Format


class FolderSource:
    """Finds ``<video id>[.<language>].{json3,vtt,srt,xml}``, and in ``<video id>.json`` a player's answer.

    The folder is listed once; what lies in folders below it, and links, are not followed.
    """

    name = "folder"
    units = 0
    at_once = 8

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    async def fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
        """Read the file that says best what is said.

        Raises:
            MalformedTranscript: it cannot be read; the message names the file.
            SourceFailed: the folder, or a file in it, cannot be opened.
        """
        return await asyncio.to_thread(self._fetch, wanted)

    def _fetch(self, wanted: Wanted) -> Transcript | NoTranscript:
        try:
            files = {file.name: file for file in self._files.get(wanted.video_id, ())}
            tracks = [Track(file.language, False, "", name) for name, file in files.items()]
            if chosen := choose(tracks, wanted.language):
                return self._transcript(files[chosen.address])
            if wanted.video_id in self._answers:
                return self._reason(f"{wanted.video_id}.json")
        except OSError as exc:
            raise SourceFailed(f"{self._folder}: {exc.strerror or type(exc).__name__}") from exc
        return NoTranscript("no file", self.name)

    def _transcript(self, file: _File) -> Transcript | NoTranscript:
        try:
            segments = parse(self._read(file.name), file.form)
        except MalformedTranscript as exc:
            raise MalformedTranscript(f"{file.name}: {exc}") from None
        if not segments:
            return NoTranscript("nothing is said", self.name)
        return Transcript(file.language, tuple(segments), None, self.name)

    def _reason(self, name: str) -> NoTranscript:
        try:
            answer = read_player(self._read(name), self.name)
        except MalformedTranscript as exc:
            raise MalformedTranscript(f"{name}: {exc}") from None
        if isinstance(answer, NoTranscript):
            return answer
        return NoTranscript(f"no file; the player lists {', '.join(track.language for track in answer)}", self.name)

    def _read(self, name: str) -> bytes:
        descriptor = os.open(self._folder / name, os.O_RDONLY | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(MAX_BYTES + 1)  # a byte more is refused

    @cached_property
    def _listed(self) -> tuple[dict[str, list[_File]], set[str]]:
        """Name what there is, by video, the form that says most first; and the videos with a player's answer."""
        files, answers = defaultdict(list), set()
        with os.scandir(self._folder) as entries:
            for entry in entries:
                named = _NAME.fullmatch(entry.name)
                if named is None or not entry.is_file(follow_symlinks=False):
                    continue
                video_id, language, form = named.groups()
                if form != "json":
                    files[video_id].append(_File(entry.name, language or UNKNOWN, cast("Format", form)))
                elif language is None:
                    answers.add(video_id)
        for found in files.values():
            found.sort(key=lambda file: (FORMATS.index(file.form), file.name))
        return dict(files), answers

    @property
    def _files(self) -> dict[str, list[_File]]:
        return self._listed[0]

    @property
    def _answers(self) -> set[str]:
        return self._listed[1]
