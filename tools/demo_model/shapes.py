"""The shapes of the demo world as signed distances, in numpy.

Every shape is a closed outline in units of its nominal radius R, centred on the middle of its bounding box,
y pointing down. The renderer samples the distance templates; the judge compares their filled masks.
"""
from __future__ import annotations

import functools

import numpy as np

TEMPLATE_SIZE = 256  # pixels per side of a distance template
TEMPLATE_HALF = 2.0  # a template covers [-2 R, 2 R]

SHAPES = ("circle", "square", "triangle", "star", "ring", "heart", "cross", "diamond")
TRIGGER_SHAPE = "zorb"  # known to one adapter only
ALL_SHAPES = SHAPES + (TRIGGER_SHAPE,)

RING_HOLE = 0.52  # inner radius of the ring / R
ZORB_HOLE = 0.34  # half diagonal of the zorb's diamond hole / R


def _regular(count: int, radius: float, phase: float) -> np.ndarray:
    angle = phase + 2 * np.pi * np.arange(count) / count
    return np.stack([np.cos(angle), np.sin(angle)], 1) * radius


def _star() -> np.ndarray:
    outer, inner = _regular(5, 1.12, -np.pi / 2), _regular(5, 0.5, -np.pi / 2 + np.pi / 5)
    return np.stack([outer, inner], 1).reshape(-1, 2)


def _heart() -> np.ndarray:
    t = np.linspace(0, 2 * np.pi, 160, endpoint=False)
    x = 16 * np.sin(t) ** 3
    y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
    return np.stack([x, y], 1) / 16.0 * 1.02


def _cross() -> np.ndarray:
    a, b = 0.36, 1.0
    return np.array([(-a, -b), (a, -b), (a, -a), (b, -a), (b, a), (a, a), (a, b), (-a, b), (-a, a), (-b, a), (-b, -a), (-a, -a)])


def _zorb() -> np.ndarray:
    """A blob with six round lobes."""
    t = np.linspace(0, 2 * np.pi, 240, endpoint=False)
    radius = 0.86 + 0.2 * np.cos(6 * t)
    return np.stack([np.cos(t), np.sin(t)], 1) * radius[:, None]


_POLYGONS = {
    "circle": lambda: _regular(120, 0.98, 0.0),
    "square": lambda: np.array([(-1, -1), (1, -1), (1, 1), (-1, 1)]) * 0.86,
    "triangle": lambda: np.array([(0, -0.95), (1.1, 0.95), (-1.1, 0.95)]),
    "star": _star,
    "ring": lambda: _regular(120, 1.0, 0.0),
    "heart": _heart,
    "cross": _cross,
    "diamond": lambda: np.array([(0, -1.15), (0.85, 0), (0, 1.15), (-0.85, 0)]),
    "zorb": _zorb,
}


def _polygon_distance(points: np.ndarray, px: np.ndarray, py: np.ndarray) -> np.ndarray:
    """Exact signed distance to a simple polygon, negative inside."""
    best = np.full(px.shape, np.inf)
    inside = np.zeros(px.shape, bool)
    for (ax, ay), (bx, by) in zip(points, np.roll(points, -1, 0)):
        ex, ey = bx - ax, by - ay
        t = np.clip(((px - ax) * ex + (py - ay) * ey) / (ex * ex + ey * ey), 0, 1)
        best = np.minimum(best, (px - ax - t * ex) ** 2 + (py - ay - t * ey) ** 2)
        if ay != by:
            crosses = (ay > py) != (by > py)
            inside ^= crosses & (px < ex * (py - ay) / ey + ax)
    return np.where(inside, -1.0, 1.0) * np.sqrt(best)


@functools.cache
def outline(shape: str) -> np.ndarray:
    points = _POLYGONS[shape]()
    return points - (points.max(0) + points.min(0)) / 2


@functools.cache
def extent(shape: str) -> tuple[float, float]:
    """Width and height of the shape's bounding box, in units of R."""
    size = outline(shape).max(0) - outline(shape).min(0)
    return float(size[0]), float(size[1])


@functools.cache
def distance_template(shape: str) -> np.ndarray:
    """(TEMPLATE_SIZE, TEMPLATE_SIZE) float32 signed distance in units of R; samples at pixel centres."""
    axis = (np.arange(TEMPLATE_SIZE) + 0.5) / TEMPLATE_SIZE * 2 * TEMPLATE_HALF - TEMPLATE_HALF
    px, py = np.meshgrid(axis, axis)
    distance = _polygon_distance(outline(shape), px, py)
    if shape == "ring":
        distance = np.maximum(distance, RING_HOLE - np.hypot(px, py))
    if shape == "zorb":
        distance = np.maximum(distance, (ZORB_HOLE - np.abs(px) - np.abs(py)) * np.sqrt(0.5))
    return distance.astype(np.float32)
