"""What a frame looks like, as 512 numbers: pluggable models, and which one the settings ask for."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Protocol

from atlas.config import Settings
from atlas.errors import ConfigurationError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

DIMENSIONS = 512

EXTRA = "pleiades-maia[vision]"


class Embedder(Protocol):
    """A model that turns pictures into directions: the closer two directions, the more alike the pictures."""

    @property
    def source_type(self) -> str:
        """Name the model with its version; vectors of two models are never compared."""
        ...

    def embed(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """Describe pictures, files of any kind that ``open_picture`` takes: one row of 512 numbers each, length 1.

        A row is all zero when there is nothing to tell: the file is no picture, too large, or shows one plain colour.
        The work is the processor's: from a coroutine call it through ``asyncio.to_thread``.
        """
        ...


def get_embedder(settings: Settings) -> Embedder | None:
    """Make the embedder that the settings ask for; None when they want none. Nothing is loaded yet.

    Raises:
        ConfigurationError: CLIP is asked for by name, but its extra or its model is missing.
    """
    if settings.EMBEDDER == "none":
        return None
    if settings.EMBEDDER == "clip":
        return _clip(settings)
    if settings.EMBEDDER == "auto" and settings.CLIP_MODEL:
        if has_extra():
            return _clip(settings)
        log.warning("CLIP_MODEL is set, but the extra %s is not installed: frames are described without CLIP", EXTRA)
    from maia.scribe.embedders.perceptual import PerceptualEmbedder

    return PerceptualEmbedder()


def same_picture(source_type: str) -> float:
    """Say from which cosine on two frames show the same picture, to the model ``source_type``."""
    if source_type.startswith("clip:"):
        from maia.scribe.embedders import clip

        return clip.SAME_PICTURE
    from maia.scribe.embedders import perceptual

    return perceptual.SAME_PICTURE


def has_extra() -> bool:
    """Say whether what CLIP needs is installed."""
    return all(find_spec(name) for name in ("onnxruntime", "huggingface_hub"))


def _clip(settings: Settings) -> Embedder:
    if not has_extra():
        raise ConfigurationError(f"EMBEDDER=clip needs the extra {EXTRA}: install it, or set EMBEDDER=perceptual")
    if not settings.CLIP_MODEL:
        raise ConfigurationError(
            "CLIP_MODEL is not set: EMBEDDER=clip needs a repository on the Hugging Face Hub with a CLIP ViT-B/32 "
            "vision model as ONNX, for example Xenova/clip-vit-base-patch32"
        )
    from maia.scribe.embedders.clip import ClipEmbedder

    return ClipEmbedder(settings.CLIP_MODEL, token=settings.HF_TOKEN, sha256=settings.CLIP_SHA256)
