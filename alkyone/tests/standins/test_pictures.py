"""Pictures that stand in for thumbnails."""

from __future__ import annotations

from io import BytesIO

import numpy as np
import pytest
from PIL import Image

from alkyone.pictures import TRANSFORMATIONS, frame, overlay


def lights(data: bytes, size: int = 32) -> np.ndarray:
    return np.asarray(Image.open(BytesIO(data)).convert("L").resize((size, size)), np.float64)


def likeness(one: bytes, other: bytes) -> float:
    return float(np.corrcoef(lights(one).ravel(), lights(other).ravel())[0, 1])


def test_a_frame_is_a_function_of_its_numbers() -> None:
    assert frame(2**63 + 7, 2) == frame(2**63 + 7, 2)
    assert len({frame(seed, index) for seed in range(20) for index in range(4)}) == 80


@pytest.mark.parametrize(("width", "height"), [(480, 360), (320, 180), (1280, 720), (120, 90)])
def test_a_frame_is_a_jpeg_of_the_size_asked_for(width: int, height: int) -> None:
    picture = Image.open(BytesIO(frame(5, 1, width=width, height=height)))

    assert (picture.format, picture.size) == ("JPEG", (width, height))


def test_frames_of_one_video_are_more_alike_than_those_of_two() -> None:
    own = [likeness(frame(seed, 1, width=320, height=180), frame(seed, 2, width=320, height=180)) for seed in range(40)]
    strange = [
        likeness(frame(seed, 1, width=320, height=180), frame(seed + 100, 1, width=320, height=180))
        for seed in range(40)
    ]

    assert np.median(own) > np.median(strange) + 0.2


@pytest.mark.parametrize("name", TRANSFORMATIONS)
def test_a_transformation_changes_the_bytes_and_little_of_the_picture(name: str) -> None:
    for seed in range(30):
        before = frame(seed, 0)
        after = TRANSFORMATIONS[name](before, seed)

        assert after != before
        assert after == TRANSFORMATIONS[name](before, seed)
        assert likeness(before, after) > 0.6


def test_an_overlay_nobody_knows_is_refused_with_those_there_are() -> None:
    with pytest.raises(ValueError, match="logo, caption, border"):
        overlay(frame(1, 1), "sticker")
