"""Pictures that stand in for thumbnails: scenes drawn from a seed, and what a re-upload does to them."""

from __future__ import annotations

import colorsys
from collections.abc import Callable
from functools import lru_cache
from io import BytesIO
from math import cos, pi, sin
from typing import Any, NamedTuple

import numpy as np
from numpy.random import Generator
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFont

Colour = tuple[int, int, int]
Point = tuple[float, float]

WIDE = 16 / 9
TALL = 9 / 16
OLD = 4 / 3
_SHAPES = ((WIDE, 0.85), (OLD, 0.05), (TALL, 0.10))
"""What videos are shaped like, and how often; guessed, with most of them wide."""

_WORDS = (
    "HOW TO", "I TRIED", "24 HOURS", "THE END", "NEW", "REACTION", "LIVE", "TOP 10", "EPISODE 7", "RECORD", "WHAT",
    "FULL MATCH", "VS", "TUTORIAL", "PART 2", "OFFICIAL", "2026", "$1 VS $1000", "BEST OF", "WHY?", "DAY 100",
)  # fmt: skip


class Camera(NamedTuple):
    """How one frame looks at its scene: ``x``, ``y`` of 0 … 1 in the scene become pixels."""

    width: int
    height: int
    pan: Point
    zoom: float

    def at(self, x: float, y: float) -> Point:
        """Map a point."""
        return (
            (0.5 + (x - 0.5 + self.pan[0]) * self.zoom) * self.width,
            (0.5 + (y - 0.5 + self.pan[1]) * self.zoom) * self.height,
        )

    def long(self, share: float) -> float:
        """Map a length, in shares of the height."""
        return share * self.zoom * self.height

    def box(self, x: float, y: float, width: float, height: float) -> tuple[float, float, float, float]:
        """Map a box around a point; both sides in shares of the height."""
        (centre_x, centre_y), half_w, half_h = self.at(x, y), self.long(width) / 2, self.long(height) / 2
        return centre_x - half_w, centre_y - half_h, centre_x + half_w, centre_y + half_h


def frame(seed: int, index: int, *, width: int = 480, height: int = 360) -> bytes:
    """Draw frame ``index`` of the video ``seed`` as JPEG; the same numbers give the same bytes.

    Frames of a seed share scene and palette, seen from elsewhere at another moment; frame 0 is a cover with a title.
    As with YouTube's own, black bars fill what the shape of the video leaves of ``width`` × ``height`` pixels.
    """
    seed &= (1 << 64) - 1
    scene, moment = np.random.default_rng(seed), np.random.default_rng((seed, index))
    shape = _shape(scene.random())
    if abs(shape - width / height) < 0.01:
        return _jpeg(_draw(scene, moment, index, width, height))
    inner = (width, round(width / shape)) if shape > width / height else (round(height * shape), height)
    picture = _draw(scene, moment, index, *inner)
    canvas = Image.new("RGB", (width, height))
    canvas.paste(picture, ((width - inner[0]) // 2, (height - inner[1]) // 2))
    return _jpeg(canvas)


def _shape(draw: float) -> float:
    for shape, share in _SHAPES:
        if draw < share:
            return shape
        draw -= share
    return WIDE


def _draw(scene: Generator, moment: Generator, index: int, width: int, height: int) -> Image.Image:
    palette = _palette(scene)
    picture = _backdrop(scene, moment, palette, width, height)
    camera = Camera(width, height, _pair(moment, 0.14), float(moment.uniform(0.8, 1.35)))
    draw = ImageDraw.Draw(picture)
    subjects = (_landscape, _speaker, _screen, _close_up, _crowd, _waves)
    subjects[scene.integers(len(subjects))](draw, camera, scene, moment, palette)
    if index == 0 and scene.random() < 0.7:
        _title(draw, scene, palette, width, height)
    return _light(picture, scene, moment)


# -- What a frame is made of ------------------------------------------------------------------------------------------


def _palette(scene: Generator) -> list[Colour]:
    """Five colours that go together: two neighbours on the wheel, an opposite, a dark and a light one."""
    hue, spread, saturation = scene.random(), scene.uniform(0.03, 0.2), scene.uniform(0.1, 0.9)
    value = scene.uniform(0.3, 0.95)
    return [
        _colour(hue, saturation, value),
        _colour(hue + spread, saturation * 0.8, value * scene.uniform(0.5, 1)),
        _colour(hue + 0.5 + spread, min(1.0, saturation * 1.2), scene.uniform(0.5, 1)),
        _colour(hue + scene.uniform(-0.2, 0.2), saturation * 0.5, scene.uniform(0.05, 0.25)),
        _colour(hue + scene.uniform(-0.2, 0.2), saturation * 0.3, scene.uniform(0.85, 1)),
    ]


def _colour(hue: float, saturation: float, value: float) -> Colour:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return round(red * 255), round(green * 255), round(blue * 255)


def _backdrop(scene: Generator, moment: Generator, palette: list[Colour], width: int, height: int) -> Image.Image:
    """A gradient between two colours under clouds of a third, drawn small and enlarged."""
    rows, columns = 18, max(8, round(18 * width / height))
    y, x = np.mgrid[-1 : 1 : rows * 1j, -1 : 1 : columns * 1j]
    angle = scene.uniform(0, 2 * pi)
    straight = x * cos(angle) + y * sin(angle)
    centre = _pair(scene, 0.8)
    round_ = 1.4 * np.hypot(x - centre[0], y - centre[1]) - 1
    ramp = 0.5 + 0.5 * np.clip(straight if scene.random() < 0.6 else round_, -1, 1)
    clouds = _clouds(scene, rows, columns) + 0.4 * _clouds(moment, rows, columns)
    share = np.clip(0.5 + clouds * scene.uniform(0.1, 0.8), 0, 1) * scene.uniform(0.2, 0.8)
    first, second, third = (np.array(palette[n], np.float32) for n in scene.permutation(5)[:3])
    ground = first + ramp[..., None] * (second - first)
    mixed = ground + share[..., None] * (third - ground)
    small = Image.fromarray(mixed.astype(np.uint8))
    return small.resize((width, height), Image.Resampling.BICUBIC)


def _clouds(chance: Generator, rows: int, columns: int) -> Any:
    """Noise of three sizes, mean 0 and roughly within -1 … 1."""
    total = np.zeros((rows, columns), np.float32)
    for size, weight in ((3, 0.6), (6, 0.3), (12, 0.15)):
        coarse = Image.fromarray(chance.standard_normal((size, size)).astype(np.float32))
        total += weight * np.asarray(coarse.resize((columns, rows), Image.Resampling.BICUBIC))
    return total


def _landscape(
    draw: ImageDraw.ImageDraw, camera: Camera, scene: Generator, moment: Generator, palette: list[Colour]
) -> None:
    """Ridges behind one another, a sun, and here and there a tree or a house."""
    sun = (scene.uniform(0.1, 0.9) + moment.normal(0, 0.05), scene.uniform(0.1, 0.4))
    size = scene.uniform(0.05, 0.25)
    draw.ellipse(camera.box(*sun, size, size), fill=palette[4])
    for layer in range(scene.integers(2, 5)):
        base = 0.45 + 0.17 * layer
        steps = int(scene.integers(4, 14))
        heights = base + scene.normal(0, 0.08 / (layer + 1), steps + 1)
        ridge = [camera.at(-0.5 + 2 * n / steps, height) for n, height in enumerate(heights)]
        draw.polygon(
            [*ridge, camera.at(1.5, 2.5), camera.at(-0.5, 2.5)], fill=_shade(palette[layer % 3], 0.9 - 0.2 * layer)
        )
    for _ in range(scene.integers(0, 7)):
        x, y, tall = scene.uniform(0, 1), scene.uniform(0.5, 0.9), scene.uniform(0.1, 0.4)
        if scene.random() < 0.5:
            draw.polygon(
                [camera.at(x, y - tall), camera.at(x + tall / 6, y), camera.at(x - tall / 6, y)], fill=palette[3]
            )
        else:
            draw.rectangle(camera.box(x, y, tall * 0.8, tall * 0.7), fill=palette[2], outline=palette[3])


def _speaker(
    draw: ImageDraw.ImageDraw, camera: Camera, scene: Generator, moment: Generator, palette: list[Colour]
) -> None:
    """Somebody before shelves or lights: head, hair, shoulders."""
    for _ in range(scene.integers(3, 16)):
        x, y = scene.random(2)
        wide, high = scene.uniform(0.04, 0.3, 2)
        shape = draw.ellipse if scene.random() < 0.4 else draw.rectangle
        shape(camera.box(x, y, wide, high), fill=_shade(palette[scene.integers(5)], scene.uniform(0.5, 1.1)))
    skin = _colour(0.07, scene.uniform(0.25, 0.6), scene.uniform(0.35, 0.95))
    for n in range(1 if scene.random() < 0.75 else 2):
        x = scene.uniform(0.25, 0.75) + n * 0.3 + moment.normal(0, 0.05)
        y, size = 0.4 + moment.normal(0, 0.04), scene.uniform(0.25, 0.5)
        draw.ellipse(camera.box(x, y + size * 1.5, size * 2.4, size * 2), fill=palette[scene.integers(3)])
        draw.ellipse(
            camera.box(x, y - size * 0.15, size * 0.95, size * 1.15), fill=_shade(palette[3], scene.uniform(0.5, 3))
        )
        draw.ellipse(camera.box(x, y, size * 0.75, size), fill=skin)
        gaze = moment.normal(0, 0.02)
        for side in (-1, 1):
            draw.ellipse(
                camera.box(x + gaze + side * size * 0.1, y - size * 0.05, size * 0.1, size * 0.07), fill=(20, 20, 20)
            )
        draw.ellipse(
            camera.box(x + gaze, y + size * 0.25, size * 0.25, size * moment.uniform(0.02, 0.2)), fill=(120, 30, 40)
        )


def _screen(
    draw: ImageDraw.ImageDraw, camera: Camera, scene: Generator, moment: Generator, palette: list[Colour]
) -> None:
    """A game or a program: panels, rows of text, bars; the picture hardly moves, its content does."""
    still = camera._replace(pan=(0.0, 0.0), zoom=1.0)
    for _ in range(scene.integers(2, 7)):
        x, y = scene.uniform(0.1, 0.9, 2)
        wide, high = scene.uniform(0.2, 0.9), scene.uniform(0.1, 0.6)
        panel = still.box(x, y, wide, high)
        draw.rectangle(panel, fill=palette[scene.integers(5)], outline=palette[scene.integers(5)], width=2)
        ink = palette[scene.integers(5)]
        pitch = still.long(scene.uniform(0.03, 0.08))
        for n in range(int((panel[3] - panel[1]) / pitch)):
            top, end = panel[1] + (n + 0.3) * pitch, panel[0] + (panel[2] - panel[0]) * moment.uniform(0.2, 0.95)
            draw.rectangle((panel[0] + 4, top, max(end, panel[0] + 5), top + pitch * 0.4), fill=ink)
    for _ in range(scene.integers(2, 12)):
        x, y = moment.random(2)
        size = scene.uniform(0.03, 0.2)
        draw.regular_polygon(
            (*still.at(x, y), still.long(size)), int(scene.integers(3, 8)), fill=palette[scene.integers(5)]
        )


def _close_up(
    draw: ImageDraw.ImageDraw, camera: Camera, scene: Generator, moment: Generator, palette: list[Colour]
) -> None:
    """One thing, large, on a table, with its parts."""
    draw.rectangle((*camera.at(-2, scene.uniform(0.5, 0.8)), *camera.at(3, 3)), fill=palette[1])
    centre, turn = (scene.uniform(0.35, 0.65), scene.uniform(0.4, 0.6)), scene.uniform(0, pi) + moment.normal(0, 0.3)
    corners = int(scene.integers(3, 11))
    radii = scene.uniform(0.15, 0.45, corners)
    thing = [
        camera.at(
            centre[0] + radius * 0.6 * cos(turn + 2 * pi * n / corners),
            centre[1] + radius * sin(turn + 2 * pi * n / corners),
        )
        for n, radius in enumerate(radii)
    ]
    draw.polygon(thing, fill=palette[2], outline=palette[3], width=max(1, camera.height // 60))
    for _ in range(scene.integers(2, 10)):
        angle, away, size = scene.uniform(0, 2 * pi), scene.uniform(0, 0.25), scene.uniform(0.02, 0.16)
        x, y = centre[0] + away * 0.6 * cos(turn + angle), centre[1] + away * sin(turn + angle)
        shape = draw.ellipse if scene.random() < 0.6 else draw.rectangle
        shape(camera.box(x, y, size, size), fill=palette[scene.integers(5)])


def _crowd(
    draw: ImageDraw.ImageDraw, camera: Camera, scene: Generator, moment: Generator, palette: list[Colour]
) -> None:
    """A pitch, a stage or a street, with many small figures that move."""
    draw.polygon([camera.at(0.3, 0.3), camera.at(0.7, 0.3), camera.at(1.6, 1.4), camera.at(-0.6, 1.4)], fill=palette[0])
    for n in range(scene.integers(0, 6)):
        x = scene.uniform(-0.2, 1.2)
        draw.line((*camera.at(0.5, 0.3), *camera.at(x, 1.3)), fill=palette[4], width=1 + n % 3)
    for _ in range(scene.integers(6, 40)):
        y = scene.uniform(0.3, 1)
        x, size = scene.uniform(0, 1) + moment.normal(0, 0.06), 0.02 + (y - 0.25) * 0.2
        shirt = palette[scene.integers(5)]
        draw.rectangle(camera.box(x, y, size * 0.8, size * 2), fill=shirt)
        draw.ellipse(camera.box(x, y - size * 1.4, size * 0.8, size), fill=(205, 160, 130))


def _waves(
    draw: ImageDraw.ImageDraw, camera: Camera, scene: Generator, moment: Generator, palette: list[Colour]
) -> None:
    """Cover art: rings, rays or stripes."""
    centre, kind = (scene.uniform(0.2, 0.8), scene.uniform(0.2, 0.8)), scene.integers(3)
    count = int(scene.integers(4, 18))
    turn = scene.uniform(0, pi) + moment.normal(0, 0.15)
    inks = [palette[scene.integers(5)] for _ in range(3)]
    for n in range(count, 0, -1):
        ink = inks[n % 3]
        if kind == 0:
            size = n * 1.6 / count * (1 + moment.normal(0, 0.05))
            draw.ellipse(camera.box(*centre, size, size * scene.uniform(0.7, 1.3)), fill=ink)
        elif kind == 1:
            start = turn + 2 * pi * n / count
            ray = [camera.at(centre[0] + 2 * cos(start + w), centre[1] + 2 * sin(start + w)) for w in (0, pi / count)]
            draw.polygon([camera.at(*centre), *ray], fill=ink)
        else:
            x = -0.5 + 2 * n / count
            draw.line(
                (*camera.at(x, -0.5), *camera.at(x + sin(turn), 1.5)),
                fill=ink,
                width=round(camera.long(0.5 / count)) or 1,
            )


def _title(draw: ImageDraw.ImageDraw, scene: Generator, palette: list[Colour], width: int, height: int) -> None:
    """A cover's large words, outlined so that they can be read on anything."""
    words = [str(_WORDS[n]) for n in scene.integers(len(_WORDS), size=scene.integers(1, 3))]
    size = round(height * scene.uniform(0.12, 0.24))
    x, y = width * scene.uniform(0.03, 0.4), height * scene.uniform(0.03, 0.5)
    ink, edge = (palette[4], palette[3]) if scene.random() < 0.7 else ((255, 230, 0), (0, 0, 0))
    for n, word in enumerate(words):
        draw.text(
            (x, y + n * size * 1.1), word, font=_font(size), fill=ink, stroke_width=max(1, size // 14), stroke_fill=edge
        )


def _light(picture: Image.Image, scene: Generator, moment: Generator) -> Image.Image:
    """Lay light and shade over a picture, and grain."""
    width, height = picture.size
    shade = 128 + 70 * scene.uniform(0.2, 1) * _clouds(scene, 9, 16) + 12 * _clouds(moment, 9, 16)
    light = Image.fromarray(np.clip(shade, 20, 255).astype(np.uint8)).resize(picture.size, Image.Resampling.BILINEAR)
    strength = int(scene.integers(2, 24))
    grain = moment.integers(128 - strength, 128 + strength, (height // 2, width // 2), np.uint8)
    grey = ImageChops.add(light, Image.fromarray(grain).resize(picture.size, Image.Resampling.NEAREST), 1, -128)
    return ImageChops.soft_light(picture, Image.merge("RGB", (grey, grey, grey)))


def _pair(chance: Generator, reach: float) -> Point:
    x, y = chance.uniform(-reach, reach, 2)
    return float(x), float(y)


def _shade(colour: Colour, factor: float) -> Colour:
    red, green, blue = (min(255, round(part * factor)) for part in colour)
    return red, green, blue


@lru_cache(maxsize=256)
def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size)


# -- What a re-upload does to a frame ---------------------------------------------------------------------------------
# Each takes and gives JPEG. What changes the picture leaves its black bars where they were, since YouTube adds those.


def reencode(data: bytes, quality: int = 40) -> bytes:
    """Compress anew."""
    return _jpeg(_open(data), quality)


def resize(data: bytes, scale: float = 0.5) -> bytes:
    """Make smaller or larger."""
    picture = _open(data)
    size = (max(1, round(picture.width * scale)), max(1, round(picture.height * scale)))
    return _jpeg(picture.resize(size, Image.Resampling.BICUBIC))


def crop(data: bytes, share: float = 0.05, *, towards: Point = (0.5, 0.5)) -> bytes:
    """Cut ``share`` of width and height away and enlarge the rest; ``towards`` says which: 0.5 is the middle."""

    def cut(inner: Image.Image) -> Image.Image:
        left, top = inner.width * share * towards[0], inner.height * share * towards[1]
        kept = (left, top, left + inner.width * (1 - share), top + inner.height * (1 - share))
        return inner.resize(inner.size, Image.Resampling.BICUBIC, box=kept)

    return _inside(data, cut)


def overlay(data: bytes, kind: str = "logo", seed: int = 0) -> bytes:
    """Lay a ``logo`` into a corner, a ``caption`` along the bottom, or a ``border`` around."""
    chance = np.random.default_rng(seed)
    ink = tuple(int(part) for part in chance.integers(0, 256, 3))

    def lay(inner: Image.Image) -> Image.Image:
        inner = inner.copy()
        draw, (width, height) = ImageDraw.Draw(inner), inner.size
        if kind == "logo":
            size = min(width, height) * chance.uniform(0.12, 0.18)
            x = width * 0.03 if chance.random() < 0.5 else width * 0.97 - size
            y = height * 0.04 if chance.random() < 0.5 else height * 0.96 - size
            draw.ellipse((x, y, x + size, y + size), fill=ink)
            draw.text(
                (x + size / 2, y + size / 2), "TV", font=_font(max(6, round(size / 2))), fill="white", anchor="mm"
            )
        elif kind == "caption":
            size = max(6, round(height * 0.07))
            words = " ".join(str(_WORDS[n]) for n in chance.integers(len(_WORDS), size=3))
            draw.text(
                (width / 2, height * 0.9),
                words,
                font=_font(size),
                fill="white",
                stroke_width=2,
                stroke_fill="black",
                anchor="mm",
            )
        elif kind == "border":
            draw.rectangle((0, 0, width - 1, height - 1), outline=ink, width=max(1, round(height * 0.025)))
        else:
            raise ValueError(f"no overlay {kind!r}: there are logo, caption, border")
        return inner

    return _inside(data, lay)


def brighten(data: bytes, factor: float = 1.25) -> bytes:
    """Multiply the light by ``factor``; what gets too bright is white."""
    return _inside(data, lambda inner: ImageEnhance.Brightness(inner).enhance(factor))


def combined(data: bytes, seed: int = 0) -> bytes:
    """Do to a frame what a re-upload does: a little of everything, drawn from ``seed``."""
    chance = np.random.default_rng(seed)
    data = crop(data, float(chance.uniform(0, 0.05)), towards=(float(chance.random()), float(chance.random())))
    data = overlay(data, ("logo", "caption", "border")[chance.integers(3)], int(chance.integers(1 << 32)))
    data = brighten(data, float(chance.uniform(0.85, 1.2)))
    return reencode(resize(data, float(chance.uniform(0.6, 1.2))), int(chance.integers(35, 85)))


TRANSFORMATIONS: dict[str, Callable[[bytes, int], bytes]] = {
    "re-encoded": lambda data, seed: reencode(data, 20 + 10 * (seed % 6)),
    "resized": lambda data, seed: resize(data, (0.33, 0.5, 0.67, 1.5)[seed % 4]),
    "cropped": lambda data, seed: crop(data, 0.05, towards=((seed % 3) / 2, (seed // 3 % 3) / 2)),
    "logo": lambda data, seed: overlay(data, "logo", seed),
    "caption": lambda data, seed: overlay(data, "caption", seed),
    "border": lambda data, seed: overlay(data, "border", seed),
    "brightened": lambda data, seed: brighten(data, (0.7, 0.85, 1.15, 1.3)[seed % 4]),
    "combined": combined,
}
"""What re-uploads do, by name: the same frame and number give the same bytes."""


_LIT = [0] * 17 + [255] * 239
"""Which lights, 0 … 255, are not the black of bars as JPEG leaves it."""


def _inside(data: bytes, change: Callable[[Image.Image], Image.Image]) -> bytes:
    """Change what lies between the black bars."""
    picture = _open(data)
    inner = picture.convert("L").point(_LIT).getbbox() or (0, 0, *picture.size)
    picture.paste(change(picture.crop(inner)), inner)
    return _jpeg(picture)


def _open(data: bytes) -> Image.Image:
    return Image.open(BytesIO(data)).convert("RGB")


def _jpeg(picture: Image.Image, quality: int = 85) -> bytes:
    out = BytesIO()
    picture.save(out, "JPEG", quality=quality)
    return out.getvalue()
