"""The built-in descriptor recognises a picture that was handled, tells others apart, and survives any file."""

from __future__ import annotations

import logging
from io import BytesIO
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from alkyone.pictures import TRANSFORMATIONS, brighten, frame, overlay
from alkyone.properties import examples
from atlas.config import Settings
from atlas.errors import ConfigurationError
from maia.scribe import embedders
from maia.scribe.embedders import get_embedder, pictures, same_picture
from maia.scribe.embedders.clip import ClipEmbedder
from maia.scribe.embedders.perceptual import SAME_PICTURE, SOURCE_TYPE, PerceptualEmbedder

SEEDS = range(60)


def file_of(picture: Image.Image, format_: str = "PNG", **options: Any) -> bytes:
    out = BytesIO()
    picture.save(out, format_, **options)
    return out.getvalue()


@pytest.fixture(scope="module")
def originals() -> list[bytes]:
    return [frame(seed, 0) for seed in SEEDS]


@pytest.fixture(scope="module")
def vectors(originals: list[bytes]) -> Any:
    return PerceptualEmbedder().embed(originals)


def test_a_picture_becomes_a_direction(vectors: Any) -> None:
    assert vectors.shape == (len(SEEDS), 512)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def test_it_is_the_same_alone_and_among_others(originals: list[bytes], vectors: Any) -> None:
    assert np.allclose(PerceptualEmbedder().embed(originals[7:8]), vectors[7:8], atol=1e-5)
    assert PerceptualEmbedder().embed([]).shape == (0, 512)


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_picture_that_was_handled_is_recognised(name: str, originals: list[bytes], vectors: Any) -> None:
    handled = [TRANSFORMATIONS[name](data, seed) for seed, data in enumerate(originals)]

    likeness = PerceptualEmbedder().embed(handled) @ vectors.T

    assert (likeness.argmax(axis=1) == np.arange(len(SEEDS))).all()
    assert (likeness.diagonal() > SAME_PICTURE).mean() >= 0.95


def test_no_two_videos_have_the_same_picture(vectors: Any) -> None:
    assert (np.triu(vectors @ vectors.T, 1) < SAME_PICTURE).all()


def test_the_shape_of_a_thumbnail_does_not_matter(originals: list[bytes]) -> None:
    wide = frame(0, 0, width=320, height=180)  # YouTube's small thumbnail: the same scene without bars
    boxed = Image.open(BytesIO(originals[0]))
    assert np.asarray(boxed.crop((0, 0, 480, 40))).max() < 9, "the large one has them"

    [one], [other] = PerceptualEmbedder().embed([wide]), PerceptualEmbedder().embed(originals[:1])

    assert one @ other > SAME_PICTURE


@pytest.mark.parametrize("format_", ["PNG", "WEBP", "JPEG"])
def test_the_format_of_a_file_does_not_matter(format_: str, originals: list[bytes], vectors: Any) -> None:
    picture = Image.open(BytesIO(originals[3])).convert("RGB")

    [found] = PerceptualEmbedder().embed([file_of(picture, format_)])

    assert found @ vectors[3] > 0.97


def bomb() -> bytes:
    return file_of(Image.new("1", (30_000, 30_000)))


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(b"", id="nothing"),
        pytest.param(b"<html>404</html>", id="no picture"),
        pytest.param(frame(1, 1)[:3000], id="cut off"),
        pytest.param(bomb(), id="a bomb"),
        pytest.param(file_of(Image.new("RGB", (4100, 4100))), id="too large"),
        pytest.param(file_of(Image.new("RGB", (64, 64)), "GIF"), id="a format nobody asked for"),
        pytest.param(file_of(Image.new("RGB", (480, 360), "black"), "JPEG"), id="black"),
        pytest.param(file_of(Image.new("RGB", (480, 360), (200, 40, 90)), "JPEG"), id="one colour"),
        pytest.param(file_of(Image.new("RGB", (1, 1))), id="one pixel"),
    ],
)
def test_what_shows_nothing_is_all_zero_and_harms_no_other(data: bytes, originals: list[bytes], vectors: Any) -> None:
    found = PerceptualEmbedder().embed([data, originals[0], data])

    assert not found[0].any()
    assert not found[2].any()
    assert np.allclose(found[1], vectors[0], atol=1e-5)


def test_a_large_file_is_not_even_opened(monkeypatch: pytest.MonkeyPatch, originals: list[bytes]) -> None:
    monkeypatch.setattr(pictures, "MOST_BYTES", 100)
    assert not PerceptualEmbedder().embed(originals[:1]).any()


@examples(60)
@given(
    seed=st.integers(0, 20), cut=st.integers(0, 4000), place=st.integers(0, 3000), junk=st.binary(max_size=40),
    format_=st.sampled_from(["JPEG", "PNG", "WEBP"]),
)  # fmt: skip
def test_damaged_files_raise_nothing(seed: int, cut: int, place: int, junk: bytes, format_: str) -> None:
    data = file_of(Image.open(BytesIO(frame(seed, 1, width=120, height=90))), format_)
    damaged = data[: max(0, len(data) - cut)]
    damaged = damaged[:place] + junk + damaged[place + len(junk) :]

    [found] = PerceptualEmbedder().embed([damaged])

    assert np.isfinite(found).all()
    assert np.linalg.norm(found) == pytest.approx(1, abs=1e-4) or not found.any()


def test_dark_pictures_and_bright_ones_keep_their_content() -> None:
    day = frame(13, 0)
    vectors = PerceptualEmbedder().embed([day, brighten(day, 0.4), overlay(brighten(day, 0.4), "logo", 3)])
    assert vectors[0] @ vectors[1] > SAME_PICTURE
    assert vectors[1] @ vectors[2] > SAME_PICTURE


# -- Which one -------------------------------------------------------------------------------------------------------


def rules(**changes: Any) -> Settings:
    return Settings(**{"_env_file": None, **changes})


def test_the_settings_choose_the_embedder() -> None:
    model = "somebody/clip@main"
    assert get_embedder(rules(EMBEDDER="none")) is None
    for wanted in (rules(), rules(EMBEDDER="perceptual"), rules(EMBEDDER="perceptual", CLIP_MODEL=model)):
        assert isinstance(get_embedder(wanted), PerceptualEmbedder)
    for wanted in (rules(CLIP_MODEL=model), rules(EMBEDDER="clip", CLIP_MODEL=model)):
        clip = get_embedder(wanted)
        assert isinstance(clip, ClipEmbedder)
        assert clip.source_type == "clip:somebody/clip@main"


def test_clip_by_name_needs_a_model() -> None:
    with pytest.raises(ConfigurationError, match=r"CLIP_MODEL is not set.* for example"):
        get_embedder(rules(EMBEDDER="clip"))


def test_without_the_extra_clip_is_refused_by_name_and_left_out_by_choice(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(embedders, "has_extra", lambda: False)
    with pytest.raises(ConfigurationError, match=r"the extra pleiades-maia\[vision\]: install it"):
        get_embedder(rules(EMBEDDER="clip", CLIP_MODEL="somebody/clip"))
    with caplog.at_level(logging.WARNING):
        assert isinstance(get_embedder(rules(CLIP_MODEL="somebody/clip")), PerceptualEmbedder)
    assert "described without CLIP" in caplog.text


def test_each_model_says_what_the_same_picture_is() -> None:
    assert same_picture(SOURCE_TYPE) == SAME_PICTURE
    assert same_picture("clip:somebody/clip") == 0.95
