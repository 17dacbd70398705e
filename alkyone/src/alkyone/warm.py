"""Loads what agents take long to load, for the process that all of them are forked from."""

from __future__ import annotations

from importlib import import_module

import pyarrow as pa
from PIL import Image

from maia.scribe.embedders.perceptual import PerceptualEmbedder
from maia.scribe.features import language_of

for _module in ("atlas.vault.batch", "atlas.vault.ordered", "atlas.vault.shards", "maia.scribe.transcripts.owned"):
    import_module(_module)

pa.array([0])  # which loads pandas wherever that is installed
Image.init()
PerceptualEmbedder().embed([b"no picture"])
language_of("a language model of 100 MB, which takes a second")
