"""CLIP through its real loading code: a small model with its inputs and outputs, from a Hub that speaks as it does."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from huggingface_hub import constants
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from pydantic import SecretStr

from alkyone.databases import NOON
from alkyone.pictures import frame
from alkyone.standins.hub import HubStandin
from atlas.errors import ConfigurationError, ModelUnavailable
from maia.scribe.embedders.clip import DEVIATION, FILE, MEAN, ClipEmbedder

NAME = "somebody/clip-small"
PATCHES = 7 * 7 * 3


def small_model(outputs: int = 512, extra_input: bool = False) -> bytes:
    """Make a model that turns pictures into the means of their 32 × 32 patches, mixed by fixed chance."""
    mix = np.random.default_rng(1).standard_normal((PATCHES, outputs)).astype(np.float32)
    inputs = [helper.make_tensor_value_info("pixel_values", TensorProto.FLOAT, ["batch", 3, 224, 224])]
    if extra_input:
        inputs.append(helper.make_tensor_value_info("input_ids", TensorProto.INT64, ["batch", 77]))
    graph = helper.make_graph(
        [
            helper.make_node("AveragePool", ["pixel_values"], ["pooled"], kernel_shape=[32, 32], strides=[32, 32]),
            helper.make_node("Flatten", ["pooled"], ["last_hidden_state"]),
            helper.make_node("MatMul", ["last_hidden_state", "mix"], ["image_embeds"]),
        ],
        "clip",
        inputs,
        [
            helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", PATCHES]),
            helper.make_tensor_value_info("image_embeds", TensorProto.FLOAT, ["batch", outputs]),
        ],
        [numpy_helper.from_array(mix, "mix")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    return bytes(model.SerializeToString())


MODEL = small_model()

OpenClip = Callable[..., ClipEmbedder]


@pytest.fixture
def hub() -> Iterator[HubStandin]:
    with HubStandin() as hub:
        hub.create(NAME, "model", private=False).put(FILE, MODEL, NOON)
        yield hub
    assert hub.violations == []


@pytest.fixture
def clip(hub: HubStandin, tmp_path: Path) -> OpenClip:
    def open_clip(model: str = NAME, **options: Any) -> ClipEmbedder:
        return ClipEmbedder(model, **{"endpoint": hub.endpoint, "cache": tmp_path, **options})

    return open_clip


def downloads(hub: HubStandin) -> int:
    return hub.count("cdn")


def test_pictures_become_directions_through_a_model_that_is_fetched_once(clip: OpenClip, hub: HubStandin) -> None:
    images = [frame(seed, 0) for seed in range(20)]
    embedder = clip()
    assert downloads(hub) == 0, "nothing is fetched before there is a picture"

    found = embedder.embed(images)

    assert found.shape == (20, 512)
    assert np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-5)
    assert np.allclose(clip().embed(images[18:]), found[18:], atol=1e-5)
    assert downloads(hub) == 1
    assert embedder.source_type == f"clip:{NAME}"


def test_a_picture_is_prepared_as_clip_was_shown_its_own(clip: OpenClip) -> None:
    picture = Image.new("RGB", (448, 224), (255, 0, 0))
    picture.paste((10, 200, 30), (112, 0, 336, 224))  # the middle square, which alone is seen
    picture.paste((10, 200, 31), (112, 0, 224, 224))
    picture.paste((200, 10, 30), (224, 0, 336, 224))
    data = BytesIO()
    picture.save(data, "PNG")
    seen = np.asarray(picture.crop((112, 0, 336, 224)), np.float32)
    normal = ((seen / 255 - MEAN) / DEVIATION).transpose(2, 0, 1)
    means = normal.reshape(3, 7, 32, 7, 32).mean((2, 4)).reshape(-1)
    expected = means @ np.random.default_rng(1).standard_normal((PATCHES, 512)).astype(np.float32)

    [found] = clip().embed([data.getvalue()])

    assert np.allclose(found, expected / np.linalg.norm(expected), atol=1e-4)


def test_black_bars_are_no_part_of_a_picture(clip: OpenClip) -> None:
    wide, boxed = clip().embed([frame(0, 1, width=480, height=270), frame(0, 1, width=480, height=360)])
    assert wide @ boxed > 0.999


def test_what_shows_nothing_is_all_zero(clip: OpenClip) -> None:
    plain = BytesIO()
    Image.new("RGB", (300, 200), "white").save(plain, "PNG")
    found = clip().embed([b"no picture", frame(1, 1), plain.getvalue()])
    assert [bool(row.any()) for row in found] == [False, True, False]


def test_a_fetched_model_needs_no_hub(clip: OpenClip, hub: HubStandin, monkeypatch: pytest.MonkeyPatch) -> None:
    images = [frame(1, 1)]
    before = clip().embed(images)
    calls = len(hub.calls)

    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)

    assert np.array_equal(clip().embed(images), before)
    assert len(hub.calls) == calls


def test_offline_without_a_model_says_what_to_do(clip: OpenClip, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    with pytest.raises(ModelUnavailable, match="let it download once, or fill HF_HOME") as raised:
        clip().embed([frame(1, 1)])
    assert raised.value.retryable


def test_a_hub_that_is_down_can_be_asked_later(clip: OpenClip, hub: HubStandin) -> None:
    embedder = clip()
    hub.faults.add("status", "resolve", status=403)
    with pytest.raises(ModelUnavailable):
        embedder.embed([frame(1, 1)])

    assert embedder.embed([frame(1, 1)]).any()


def test_a_revision_is_kept_to(clip: OpenClip, hub: HubStandin) -> None:
    first = hub.repository(NAME, "model").head.oid
    hub.repository(NAME, "model").put(FILE, b"something else", NOON)

    assert clip(f"{NAME}@{first}").embed([frame(1, 1)]).any()
    assert clip(f"{NAME}@{first}").source_type == f"clip:{NAME}@{first}"
    with pytest.raises(ConfigurationError, match=r"there is no onnx/vision_model.onnx in it at nowhere"):
        clip(f"{NAME}@nowhere").embed([frame(1, 1)])


def test_a_private_model_is_read_with_the_token(clip: OpenClip, hub: HubStandin) -> None:
    hub.create("somebody/private", "model", private=True).put(FILE, MODEL, NOON)
    with pytest.raises(ConfigurationError, match="none that HF_TOKEN may read"):
        clip("somebody/private").embed([frame(1, 1)])
    assert clip("somebody/private", token=SecretStr(hub.read_token)).embed([frame(1, 1)]).any()


def test_a_model_that_is_not_there_is_a_wrong_setting(clip: OpenClip, hub: HubStandin) -> None:
    with pytest.raises(ConfigurationError, match="CLIP_MODEL=somebody/else: no such model repository"):
        clip("somebody/else").embed([frame(1, 1)])
    hub.create("somebody/empty", "model", private=False)
    with pytest.raises(ConfigurationError, match=r"there is no onnx/vision_model.onnx in it"):
        clip("somebody/empty").embed([frame(1, 1)])


def test_a_checksum_is_checked(clip: OpenClip) -> None:
    digest = hashlib.sha256(MODEL).hexdigest()
    assert clip(sha256=digest).embed([frame(1, 1)]).any()
    with pytest.raises(ConfigurationError, match=f"CLIP_SHA256: .* has {digest}"):
        clip(sha256="0" * 64).embed([frame(1, 1)])


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        pytest.param(b"version https://git-lfs", "no vision model that onnxruntime can run", id="no model"),
        pytest.param(MODEL[:5000], "no vision model that onnxruntime can run", id="cut off"),
        pytest.param(small_model(768), r"into \(768,\), not a picture into 512 numbers", id="another model"),
        pytest.param(small_model(extra_input=True), "no vision model|2 inputs", id="text and vision in one"),
    ],
)
def test_what_is_not_the_model_is_refused(clip: OpenClip, hub: HubStandin, data: bytes, problem: str) -> None:
    hub.create("somebody/other", "model", private=False).put(FILE, data, NOON)
    with pytest.raises(ConfigurationError, match=problem):
        clip("somebody/other").embed([frame(1, 1)])
