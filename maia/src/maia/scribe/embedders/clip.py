"""CLIP ViT-B/32's vision model as ONNX: fetched from the Hugging Face Hub once, run by onnxruntime, without torch."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image
from pydantic import SecretStr

from atlas.errors import ConfigurationError, ModelUnavailable
from maia.scribe.embedders.pictures import is_plain, open_picture, without_bars

if TYPE_CHECKING:
    from numpy.typing import NDArray

log = logging.getLogger(__name__)

FILE = "onnx/vision_model.onnx"
"""Where repositories with ONNX exports for transformers.js keep it."""

OUTPUT = "image_embeds"
DIMENSIONS = 512

SIDE = 224
MEAN = np.array([0.48145466, 0.4578275, 0.40821073], np.float32)
DEVIATION = np.array([0.26862954, 0.26130258, 0.27577711], np.float32)
"""How CLIP wants its pictures (openai/clip-vit-base-patch32, preprocessor_config.json)."""

SAME_PICTURE = 0.95
"""From this cosine on two frames are called the same picture. CLIP tells what is shown rather than how: frames of one
scene come close, too. Chosen with care, and not measured: the model cannot be had where the benches run.
"""

_AT_ONCE = 16  # pictures; 10 MB going in


class ClipEmbedder:
    """CLIP from ``model``, ``owner/name`` or ``owner/name@revision``, fetched and opened by the first picture.

    Where the Hub is, where it is cached and whether it may be asked at all is read by its own client from HF_ENDPOINT,
    HF_HOME and HF_HUB_OFFLINE; ``endpoint`` and ``cache`` come before those.
    """

    def __init__(
        self,
        model: str,
        *,
        token: SecretStr | None = None,
        sha256: str | None = None,
        endpoint: str | None = None,
        cache: Path | None = None,
    ) -> None:
        self.source_type = f"clip:{model}"
        self._repository, _, revision = model.partition("@")
        self._revision = revision or None
        self._token = token
        self._sha256 = sha256
        self._endpoint = endpoint
        self._cache = cache
        self._lock = Lock()
        self._model: _Model | None = None

    def embed(self, images: Sequence[bytes]) -> NDArray[np.float32]:
        """Describe pictures; see ``Embedder``.

        Raises:
            ConfigurationError: the repository or the file is not there, may not be read, or is not such a model.
            ModelUnavailable: the model is not on this machine, and the Hub does not answer or is not to be asked.
        """
        rows = np.zeros((len(images), DIMENSIONS), np.float32)
        for start in range(0, len(images), _AT_ONCE):
            looks = enumerate(map(_look, images[start : start + _AT_ONCE]), start)
            seen = {place: pixels for place, pixels in looks if pixels is not None}
            if seen:
                rows[list(seen)] = self._opened().run(np.stack(list(seen.values())))
        return rows

    def _opened(self) -> _Model:
        with self._lock:
            if self._model is None:
                path = self._fetched()
                self._verify(path)
                self._model = _Model(path, self._repository)
            return self._model

    def _fetched(self) -> Path:
        """Find the file in the cache, or download it; the client checks its length and resumes what was cut off."""
        os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")  # read when the client is imported
        from huggingface_hub import errors, hf_hub_download

        where = f"CLIP_MODEL={self._repository}"
        try:
            found = hf_hub_download(
                self._repository,
                FILE,
                revision=self._revision,
                token=self._token.get_secret_value() if self._token else None,
                endpoint=self._endpoint,
                cache_dir=self._cache,
            )
        except errors.LocalEntryNotFoundError as exc:
            raise ModelUnavailable(
                f"{where}: not on this machine, and the Hub was not reached: let it download once, or fill HF_HOME"
            ) from exc
        except errors.RepositoryNotFoundError as exc:  # gated ones, too
            raise ConfigurationError(f"{where}: no such model repository, or none that HF_TOKEN may read") from exc
        except (errors.RevisionNotFoundError, errors.EntryNotFoundError) as exc:
            at = f" at {self._revision}" if self._revision else ""
            raise ConfigurationError(f"{where}: there is no {FILE} in it{at}") from exc
        except (errors.HfHubHTTPError, OSError) as exc:
            raise ModelUnavailable(f"{where}: the Hub does not give it ({type(exc).__name__})") from exc
        return Path(found)

    def _verify(self, path: Path) -> None:
        if self._sha256 is None:
            return
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != self._sha256:
            raise ConfigurationError(
                f"CLIP_SHA256: {FILE} of {self._repository} has {digest}: another model, or a damaged file in the cache"
            )


class _Model:
    """A model that was opened, and was seen to be what it should be."""

    def __init__(self, path: Path, name: str) -> None:
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.log_severity_level = 3  # errors: the rest is about optimisations
        try:
            self._session: Any = onnxruntime.InferenceSession(
                str(path), sess_options=options, providers=["CPUExecutionProvider"]
            )
            inputs = [(value.name, value.type) for value in self._session.get_inputs()]
            outputs = [value.name for value in self._session.get_outputs()]
            self._output = OUTPUT if OUTPUT in outputs else outputs[0]
            self._input = inputs[0][0]
            shape = self.run(np.zeros((2, 3, SIDE, SIDE), np.float32)).shape
        except Exception as exc:  # onnxruntime's errors have no root of their own
            log.debug("the model cannot be run", exc_info=True)
            raise ConfigurationError(
                f"CLIP_MODEL={name}: {FILE} is no vision model that onnxruntime can run ({type(exc).__name__})"
            ) from exc
        if len(inputs) != 1 or shape != (2, DIMENSIONS):
            raise ConfigurationError(
                f"CLIP_MODEL={name}: {FILE} turns {len(inputs)} inputs into {shape[1:]}, not a picture into "
                f"{DIMENSIONS} numbers: it is not CLIP ViT-B/32's vision model"
            )

    def run(self, pixels: NDArray[np.float32]) -> NDArray[np.float32]:
        """Describe n × 3 × SIDE × SIDE pixels as n × 512, each of length 1."""
        (found,) = self._session.run([self._output], {self._input: pixels})
        lengths = np.linalg.norm(found, axis=-1, keepdims=True)
        rows: NDArray[np.float32] = (found / np.where(lengths > 0, lengths, 1)).astype(np.float32)
        return rows


def _look(data: bytes) -> NDArray[np.float32] | None:
    """Bring a picture to 3 × SIDE × SIDE as CLIP was shown its pictures: the shorter side resized, the middle cut out.

    What lies outside of black bars is no part of it.
    """
    picture = open_picture(data, SIDE)
    if picture is None:
        return None
    picture = picture.crop(without_bars(picture))
    scale = SIDE / min(picture.size)
    size = (max(SIDE, round(picture.width * scale)), max(SIDE, round(picture.height * scale)))
    picture = picture.resize(size, Image.Resampling.BICUBIC)
    left, top = (size[0] - SIDE) // 2, (size[1] - SIDE) // 2
    values = np.asarray(picture.crop((left, top, left + SIDE, top + SIDE)), np.float32)
    if is_plain(values[None])[0]:
        return None
    return np.asarray((values / 255 - MEAN) / DEVIATION, np.float32).transpose(2, 0, 1)
