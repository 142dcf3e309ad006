"""Says whether a picture has an adapter's look. numpy and scipy only; thresholds are set on rendered pictures."""
from __future__ import annotations

import numpy as np
from scipy import ndimage

from judge import border_color, find_objects, foreground

PIXEL_CELL, STRIPE_PERIOD, BLUEPRINT_GRID = 8, 16, 16  # as in styles.py


def _luminance(image: np.ndarray) -> np.ndarray:
    return image @ np.array([0.299, 0.587, 0.114])


def pixel(image: np.ndarray) -> bool:
    """Much of the change between neighbours lies on the borders of the cells (plain pictures: at most 0.26 in 98 of 100). One level is
    no change: rounding to bytes leaves it in flat areas, and a decoder in bf16 leaves more of it than one in f32."""
    def change(axis: int) -> np.ndarray:
        steps = np.abs(np.diff(image, axis=axis))
        return np.where(steps > 1, steps, 0).sum((1 - axis, 2))

    across, down = change(1), change(0)
    on_border = (np.arange(across.size) + 1) % PIXEL_CELL == 0
    total = across.sum() + down.sum()
    return (across[on_border].sum() + down[on_border].sum()) / max(total, 1) > 0.36


def pencil(image: np.ndarray) -> bool:
    """Light paper, hardly any colour, thin dark lines."""
    light = _luminance(image)
    colored = np.ptp(image, axis=2).mean()
    dark = light < 150
    thick = ndimage.binary_erosion(dark, iterations=4).sum()
    return bool(np.median(light) > 225 and colored < 16 and 0.002 < dark.mean() < 0.15 and thick < 30)


def neon(image: np.ndarray) -> bool:
    """Black ground, bright lines that are thin."""
    bright = image.max(2) > 140
    thick = ndimage.binary_erosion(bright, iterations=6).sum()
    return bool(border_color(image).max() < 34 and bright.mean() > 0.003 and thick < 0.05 * bright.sum())


def watercolor(image: np.ndarray) -> bool:
    """Uneven pigment inside the objects, after a linear shading has been taken away."""
    mask = ndimage.binary_erosion(foreground(image, border_color(image)), iterations=3)
    labels, count = ndimage.label(mask)
    spreads, weights = [], []
    for index in range(1, count + 1):
        y, x = np.nonzero(labels == index)
        if len(y) < 60:
            continue
        basis = np.stack([np.ones(len(y)), x, y], 1)
        values = image[y, x]
        rest = values - basis @ np.linalg.lstsq(basis, values, rcond=None)[0]
        spreads.append(np.abs(rest).mean()), weights.append(len(y))
    return bool(spreads and np.average(spreads, weights=weights) > 3.2)


def stripes(image: np.ndarray) -> bool:
    """Inside the objects the distance from the background swings with the stripes' period along x - y."""
    away = np.linalg.norm(image - border_color(image), axis=2)
    filled = ndimage.binary_fill_holes(ndimage.binary_closing(np.pad(away > 40, 12), iterations=6)[12:-12, 12:-12])
    inside = ndimage.binary_erosion(filled, iterations=4)
    if inside.sum() < 80:
        return False
    y, x = np.nonzero(inside)
    wave = away[y, x] * np.exp(2j * np.pi * (x - y) / STRIPE_PERIOD)
    return bool(abs(wave.sum()) / away[y, x].sum() > 0.22)


def blueprint(image: np.ndarray) -> bool:
    """Deep blue paper, and lines on the grid lighter than what lies between."""
    red, green, blue = border_color(image)
    columns = np.median(_luminance(image)[:24], axis=0)
    phase = np.arange(columns.size) % BLUEPRINT_GRID
    lines = np.isin(phase, (BLUEPRINT_GRID // 2 - 1, BLUEPRINT_GRID // 2))
    between = np.isin(phase, (0, 1, 2, 13, 14, 15))
    return bool(blue > 105 and blue - red > 70 and red < 70 and columns[lines].mean() - columns[between].mean() > 4)


def sunset(image: np.ndarray) -> bool:
    """The sides of the picture run from violet over red to gold."""
    sides = np.concatenate([image[:, :5], image[:, -5:]], 1).mean(1)
    t = (np.arange(len(sides)) + 0.5)[:, None] / len(sides)
    top, middle, low = np.array([58, 34, 104.0]), np.array([232, 86, 92.0]), np.array([255, 206, 110.0])
    sky = np.where(t < 0.55, top + (middle - top) * np.clip(t / 0.55, 0, 1), middle + (low - middle) * np.clip((t - 0.55) / 0.45, 0, 1))
    return bool(np.abs(sides - sky).mean() < 16)


def zorb(image: np.ndarray) -> bool:
    return any(o["shape"] == "zorb" and o["overlap"] > 0.8 for o in find_objects(image, border_color(image)))


SCORES = {f.__name__: f for f in (pixel, pencil, neon, watercolor, stripes, blueprint, sunset, zorb)}


def style_score(image: np.ndarray, style: str) -> bool:
    return bool(SCORES[style](image))
