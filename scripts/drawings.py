"""Images of one coloured shape, drawn from a seed: what the demo model learns and is tested on.

>>> draw("circle", "red", np.random.default_rng(0)).size
"""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

if TYPE_CHECKING:
    from collections.abc import Callable

Array = NDArray[Any]

# Each colour is a few anchors that people would all call by that name, jittered when drawn.
_ANCHORS: Final[dict[str, tuple[tuple[int, int, int], ...]]] = {
    "red": ((255, 0, 0), (215, 25, 30), (190, 10, 25)),
    "orange": ((255, 140, 0), (255, 165, 0), (240, 120, 15)),
    "yellow": ((255, 255, 0), (250, 225, 20), (255, 215, 0)),
    "green": ((0, 128, 0), (0, 220, 0), (40, 165, 60)),
    "cyan": ((0, 255, 255), (0, 200, 215), (30, 220, 230)),
    "blue": ((0, 0, 255), (25, 70, 205), (40, 100, 225)),
    "purple": ((128, 0, 128), (115, 30, 165), (140, 50, 185)),
    "pink": ((255, 105, 180), (255, 150, 190), (250, 130, 195)),
    "brown": ((139, 69, 19), (110, 60, 30), (125, 75, 40)),
    "black": ((0, 0, 0), (20, 20, 22), (30, 28, 30)),
    "white": ((255, 255, 255), (248, 248, 246), (238, 240, 242)),
}
_JITTER: Final = 8
_EDGE: Final = 3  # the mask is drawn this many times larger, then averaged: smooth edges
_CONTRAST: Final = 130.0  # least distance in RGB between a shape and what it lies on
_UNLIKE: Final = 60.0  # least distance in RGB between two colours that share no name
_SMALLEST, _LARGEST = 0.38, 0.92  # a shape's extent, as a share of the image's short side
_MAX_TILT: Final = 14.0  # degrees; a square turned by 45 would be a diamond


def _arc(start: float, stop: float, radius: float = 1.0, n: int = 48) -> Array:
    """Points on an arc about the origin, angles in turns. Shape (n, 2)."""
    turn = 2 * np.pi * np.linspace(start, stop, n)
    points: Array = np.stack([radius * np.cos(turn), radius * np.sin(turn)], axis=1)
    return points


def _moved(points: Array, x: float, y: float) -> Array:
    """Shift every point. Shape (n, 2)."""
    moved: Array = points + np.array([x, y])
    return moved


def _star() -> Array:
    """Five tips and five inner corners, one tip up."""
    points = _arc(-0.25, 0.75, n=11)[:10]
    points[1::2] *= 0.42
    return points


def _ring() -> Array:
    """Go round the outer circle, then back round the inner one: an outline with a seam."""
    return np.concatenate([_arc(0, 1), _arc(1, 0, radius=0.56)])


def _crescent() -> Array:
    """Cut from the unit disc a disc of radius 0.78 about (0.5, 0): it opens to the right."""
    outer = _arc(0.139, 0.861)
    inner = _moved(_arc(0.779, 0.221, radius=0.78), 0.5, 0)
    return _moved(np.concatenate([outer, inner]), 0.15, 0)


def _heart() -> Array:
    """Trace the usual parametric heart, point down."""
    t = 2 * np.pi * np.linspace(0, 1, 64)
    x = 16 * np.sin(t) ** 3
    y = 13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t)
    return np.stack([x, -y], axis=1) / 17


def _corners(*xy: float) -> Callable[[], Array]:
    """Make a polygon from its corners x0, y0, x1, y1 and so on."""
    return lambda: np.array(xy, dtype=float).reshape(-1, 2)


_a, _t = 0.95, 0.33  # a cross's arm: its reach and half its thickness
_OUTLINES: Final[dict[str, Callable[[], Array]]] = {
    "circle": lambda: _arc(0, 1),
    "square": _corners(-0.82, -0.82, 0.82, -0.82, 0.82, 0.82, -0.82, 0.82),
    "triangle": _corners(0, -0.95, 0.95, 0.75, -0.95, 0.75),
    "star": _star,
    "heart": _heart,
    "cross": _corners(
        -_t, -_a, _t, -_a, _t, -_t, _a, -_t, _a, _t, _t, _t,
        _t, _a, -_t, _a, -_t, _t, -_a, _t, -_a, -_t, -_t, -_t,
    ),
    "ring": _ring,
    "crescent": _crescent,
    "arrow": _corners(-1, -0.26, 0.1, -0.26, 0.1, -0.75, 1, 0, 0.1, 0.75, 0.1, 0.26, -1, 0.26),
    "diamond": _corners(0, -1, 0.8, 0, 0, 1, -0.8, 0),
    "bolt": _corners(0.3, -1, -0.62, 0.18, -0.04, 0.18, -0.3, 1, 0.62, -0.22, 0.06, -0.22),
}  # fmt: skip

SHAPES: Final = tuple(_OUTLINES)
COLOURS: Final = tuple(_ANCHORS)
PAIRS: Final = tuple((colour, shape) for colour in COLOURS for shape in SHAPES)


def _is_held_out(colour: str, shape: str) -> bool:
    """Two colours of every shape, spread so that no colour or shape goes without examples."""
    return (COLOURS.index(colour) - SHAPES.index(shape)) % len(COLOURS) in (0, 5)


HELD_OUT: Final = tuple(pair for pair in PAIRS if _is_held_out(*pair))  # never trained on
TRAINED: Final = tuple(pair for pair in PAIRS if not _is_held_out(*pair))


def draw(
    shape: str,
    colour: str | tuple[int, int, int],
    rng: np.random.Generator,
    size: tuple[int, int] | None = None,
) -> Image.Image:
    """Draw one shape of one colour, a name or an RGB value.

    Everything else (place, size, ground, tilt) comes from `rng`; `size` is (width, height).
    """
    width, height = size or _random_size(rng)
    paint = _paint(colour, rng) if isinstance(colour, str) else np.array(colour, dtype=float)
    ground = _ground(width, height, rng, avoid=paint)
    mask = _mask(_OUTLINES[shape](), width, height, rng)[:, :, None]
    return _image(ground * (1 - mask) + _shade(paint, width, height, rng) * mask)


def unnamed_colour(shape: str, rng: np.random.Generator) -> tuple[int, int, int]:
    """Any RGB value that is far from the colours in which this shape is held out."""
    banned = [a for colour, s in HELD_OUT if s == shape for a in _ANCHORS[colour]]
    while True:
        value = rng.integers(0, 256, 3)
        if min(np.linalg.norm(value - anchor) for anchor in np.array(banned)) > _UNLIKE:
            return int(value[0]), int(value[1]), int(value[2])


def draw_nothing(rng: np.random.Generator, size: tuple[int, int] | None = None) -> Image.Image:
    """Draw a ground with no shape on it."""
    width, height = size or _random_size(rng)
    return _image(_ground(width, height, rng, avoid=None))


def recompress(image: Image.Image, quality: int) -> Image.Image:
    """Pass an image through JPEG, for its artefacts."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    return Image.open(io.BytesIO(buffer.getvalue())).convert("RGB")


def _image(pixels: Array) -> Image.Image:
    return Image.fromarray(pixels.clip(0, 255).round().astype(np.uint8))


def chance(rng: np.random.Generator, share: float) -> bool:
    """Say yes this share of the time."""
    return bool(rng.random() < share)


def _random_size(rng: np.random.Generator) -> tuple[int, int]:
    """Take a short side of 96 to 176 pixels, and a long one up to 1.5 times that."""
    short = int(rng.integers(96, 177))
    long = int(short * rng.choice([1, 1, 4 / 3, 1.5, rng.uniform(1, 1.5)]))
    return (long, short) if chance(rng, 0.6) else (short, long)


def _paint(colour: str, rng: np.random.Generator) -> Array:
    """One RGB value that goes by this name. Shape (3,)."""
    anchor = np.array(_ANCHORS[colour][rng.integers(len(_ANCHORS[colour]))], dtype=float)
    exact = chance(rng, 0.25)
    return anchor if exact else (anchor + rng.uniform(-_JITTER, _JITTER, 3)).clip(0, 255)


def _shade(paint: Array, width: int, height: int, rng: np.random.Generator) -> Array:
    """Spread the paint, flat or slightly darker towards one side. Shape (height, width, 3)."""
    depth = 0.12 * rng.random() if chance(rng, 0.4) else 0.0
    return paint * (1 - depth * _ramp(width, height, rng))


def _ramp(width: int, height: int, rng: np.random.Generator) -> Array:
    """Ramp from 0 to 1 in a random direction. Shape (height, width, 1)."""
    angle = rng.uniform(0, 2 * np.pi)
    y, x = np.mgrid[0 : 1 : height * 1j, 0 : 1 : width * 1j]
    ramp = x * np.cos(angle) + y * np.sin(angle)
    scaled: Array = (ramp - ramp.min()) / (np.ptp(ramp) + 1e-9)
    return scaled[:, :, None]


def _mask(outline: Array, width: int, height: int, rng: np.random.Generator) -> Array:
    """How much of each pixel the shape covers, 0 to 1. Shape (height, width)."""
    radius = rng.uniform(_SMALLEST, _LARGEST) * min(width, height) / 2
    tilt = np.deg2rad(rng.uniform(-_MAX_TILT, _MAX_TILT)) * (chance(rng, 0.7))
    turn = np.array([[np.cos(tilt), np.sin(tilt)], [-np.sin(tilt), np.cos(tilt)]])
    mirrored = outline * (rng.choice([-1, 1]), 1)
    points = mirrored @ turn * radius * rng.uniform(0.9, 1.0, 2)
    room = np.array([width, height]) / 2 - radius  # how far the centre may move, each way
    points += np.array([width, height]) / 2 + rng.uniform(-room, room)
    canvas = Image.new("L", (width * _EDGE, height * _EDGE))
    ImageDraw.Draw(canvas).polygon([tuple(p) for p in points * _EDGE], fill=255)
    return np.asarray(canvas.reduce(_EDGE), dtype=float) / 255


def _ground_colour(rng: np.random.Generator, avoid: Array | None) -> Array:
    """White, pale, grey, dark or any colour, but well apart from the paint. Shape (3,)."""
    while True:
        grey = np.full(3, rng.uniform(0, 255))
        colour = (
            np.full(3, 255.0),
            rng.uniform(200, 255, 3),
            grey,
            (grey + rng.uniform(-30, 30, 3)).clip(0, 255),
            rng.uniform(0, 255, 3),
        )[rng.choice(5, p=[0.3, 0.25, 0.1, 0.2, 0.15])]
        if avoid is None or np.linalg.norm(colour - avoid) > _CONTRAST:
            return colour


def _ground(width: int, height: int, rng: np.random.Generator, avoid: Array | None) -> Array:
    """Paint what the shape lies on. Shape (height, width, 3)."""
    first = _ground_colour(rng, avoid)
    plain: Array = np.broadcast_to(first, (height, width, 3)).copy()
    kind = rng.choice(["plain", "ramp", "stripes", "blotches"], p=[0.5, 0.2, 0.15, 0.15])
    if kind != "plain":
        plain += (_second_colour(first, rng, avoid) - first) * _blend(kind, width, height, rng)
    if chance(rng, 0.35):
        plain += rng.normal(0, rng.uniform(2, 14), plain.shape)
    if chance(rng, 0.15):
        plain = _scratched(plain, rng)
    return plain


def _second_colour(first: Array, rng: np.random.Generator, avoid: Array | None) -> Array:
    """Pick a neighbour of the first colour that is still well apart from the paint. Shape (3,)."""
    for reach in (90, 60, 30):
        second = (first + rng.uniform(-reach, reach, 3)).clip(0, 255)
        if avoid is None or np.linalg.norm(second - avoid) > _CONTRAST:
            return second
    return first


def _blend(kind: str, width: int, height: int, rng: np.random.Generator) -> Array:
    """How much of the second colour each pixel takes, 0 to 1. Shape (height, width, 1)."""
    ramp = _ramp(width, height, rng)
    if kind == "stripes":
        return np.round((ramp * rng.uniform(4, 14)) % 1)
    if kind == "blotches":
        coarse = rng.integers(0, 256, (5, 5), dtype=np.uint8)
        smooth = Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)
        return np.asarray(smooth, dtype=float)[:, :, None] / 255
    return ramp


def _scratched(pixels: Array, rng: np.random.Generator) -> Array:
    """Add to a ground a few thin grey lines, which a classifier should ignore."""
    image = _image(pixels)
    pen = ImageDraw.Draw(image)
    height, width = pixels.shape[:2]
    for _ in range(rng.integers(1, 4)):
        ends = rng.uniform(0, 1, 4) * (width, height, width, height)
        tone = tuple(int(v * rng.uniform(0.75, 0.95)) for v in pixels.mean(axis=(0, 1)))
        pen.line(list(ends), fill=tone, width=1)
    return np.asarray(image, dtype=float)
