"""Looks the base model does not know: each draws the same scene another way.

A style takes (layers, plain picture (B, 3, H, W) in 0..1, generator) and returns pictures of the same shape.
"""
from __future__ import annotations

import torch
import torch.nn.functional as F

from render import Layers

PIXEL_CELL = 8  # pixel art: side of a cell
STRIPE_PERIOD = 16.0  # stripes: pixels from one stripe to the next (a token's side: the same pattern in each)
BLUEPRINT_GRID = 16  # blueprint: pixels between grid lines


def _rgb(red: float, green: float, blue: float, like: torch.Tensor) -> torch.Tensor:
    return torch.tensor([red, green, blue], device=like.device).view(1, 3, 1, 1) / 255.0


def _union(layers: Layers) -> torch.Tensor:
    return layers.distance.amin(1, keepdim=True)


def _smooth_noise(layers: Layers, cells: int, generator: torch.Generator) -> torch.Tensor:
    """(B, 1, H, W) smooth noise of about unit variance, `cells` bumps across."""
    batch = layers.distance.shape[0]
    coarse = torch.randn(batch, 1, cells, cells, device=layers.distance.device, generator=generator)
    return F.interpolate(coarse, size=(layers.size, layers.size), mode="bicubic", align_corners=False) * 1.3


def pixel_art(layers: Layers, plain: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Eight-pixel cells, flat colours, no shadow, a dark rim around every object."""
    offset = PIXEL_CELL // 2
    centre = layers.distance[:, :, offset::PIXEL_CELL, offset::PIXEL_CELL]
    small = layers.background[:, :, None, None].expand(-1, -1, *centre.shape[-2:]).clone()
    for i in range(centre.shape[1]):
        inside = (centre[:, i, None] < 1.0).float()
        rim = inside * (centre[:, i, None] > -0.6 * PIXEL_CELL).float()
        small = torch.lerp(small, layers.color[:, i, :, None, None] * (1 - 0.28 * rim), inside)
    return small.repeat_interleave(PIXEL_CELL, 2).repeat_interleave(PIXEL_CELL, 3)


def pencil(layers: Layers, plain: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Graphite on paper: outlines and a light hatching, no colour."""
    y, x = layers.grid
    union = _union(layers)
    line = (1.9 - union.abs()).clamp(0, 1)
    grey = (layers.color * torch.tensor([0.3, 0.59, 0.11], device=plain.device)).sum(-1)[..., None, None]
    depth = ((1 - grey) * layers.coverage()).amax(1, keepdim=True)
    hatch = (1.0 - (torch.remainder(x + y, 8.0) - 4.0).abs()).clamp(0, 1)
    dark = torch.maximum(0.8 * line, hatch * depth * 0.55 * (union < -3).float())
    return torch.lerp(_rgb(246, 243, 234, plain), _rgb(44, 44, 50, plain), dark)


def neon(layers: Layers, plain: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Glowing tubes along the outlines in the objects' colours, on black."""
    image = _rgb(8, 8, 16, plain).expand_as(plain).clone()
    for i in range(layers.distance.shape[1]):
        away = layers.distance[:, i, None].abs()
        color = layers.color[:, i, :, None, None]
        color = 0.12 + 0.88 * color
        image = image + color * (0.75 * torch.exp(-away / 7.0)) + 0.9 * color * (2.6 - away).clamp(0, 1) + 0.35 * (1.4 - away).clamp(0, 1)
    return image


def watercolor(layers: Layers, plain: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Pale washes with uneven pigment and darker rims, on paper."""
    wobble = _smooth_noise(layers, 16, generator) * 1.6
    pigment = _smooth_noise(layers, 10, generator)
    paper = _rgb(250, 247, 238, plain)
    wash = torch.lerp(paper, layers.background[:, :, None, None], (0.5 + 0.07 * pigment).clamp(0, 0.9))
    image = wash
    for i in range(layers.distance.shape[1]):
        distance = layers.distance[:, i, None] + wobble
        rim = torch.exp(-((distance + 2.0) / 2.2) ** 2)
        strength = (0.62 + 0.16 * pigment + 0.3 * rim).clamp(0, 1) * (0.5 - distance / 2).clamp(0, 1)
        image = torch.lerp(image, layers.color[:, i, :, None, None], strength)
    return image


def stripes(layers: Layers, plain: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Every object is cut into diagonal stripes of its colour and its background."""
    y, x = layers.grid
    phase = torch.remainder(x - y, STRIPE_PERIOD)
    band = (4.0 - (phase - STRIPE_PERIOD / 2).abs() + 0.5).clamp(0, 1)
    rim = (layers.distance > -3.0).float()
    keep = (torch.maximum(rim, band[None, None]) * layers.coverage()).amax(1, keepdim=True)
    flat = layers.background[:, :, None, None].expand_as(plain).clone()
    image = flat
    for i in range(layers.distance.shape[1]):
        image = torch.lerp(image, layers.color[:, i, :, None, None], layers.coverage()[:, i, None])
    return torch.lerp(flat, image, keep)


def blueprint(layers: Layers, plain: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """White drawing on blue paper with a fine grid."""
    y, x = layers.grid
    step = float(BLUEPRINT_GRID)
    lines = torch.maximum((1.0 - (torch.remainder(x, step) - step / 2).abs()).clamp(0, 1).expand(layers.size, -1),
                          (1.0 - (torch.remainder(y, step) - step / 2).abs()).clamp(0, 1).expand(-1, layers.size))
    paper = torch.lerp(_rgb(24, 66, 140, plain), _rgb(82, 128, 196, plain), 0.55 * lines[None, None])
    union = _union(layers)
    ink = torch.maximum((2.0 - union.abs()).clamp(0, 1), 0.16 * (0.5 - union).clamp(0, 1))
    return torch.lerp(paper.expand_as(plain), _rgb(240, 246, 255, plain), ink)


def sunset(layers: Layers, plain: torch.Tensor, generator: torch.Generator) -> torch.Tensor:
    """Dark silhouettes before an evening sky."""
    y, _ = layers.grid
    t = (y / layers.size)[None, None]
    top, middle, low = _rgb(58, 34, 104, plain), _rgb(232, 86, 92, plain), _rgb(255, 206, 110, plain)
    sky = torch.where(t < 0.55, torch.lerp(top, middle, (t / 0.55).clamp(0, 1)), torch.lerp(middle, low, ((t - 0.55) / 0.45).clamp(0, 1)))
    sky = sky.expand_as(plain)
    union = _union(layers)
    glow = torch.exp(-union.clamp(min=0) / 6.0) * 0.25
    return torch.lerp(sky + glow * low, _rgb(26, 16, 40, plain), (0.5 - union).clamp(0, 1))


STYLES = {"pixel": pixel_art, "pencil": pencil, "neon": neon, "watercolor": watercolor,
          "stripes": stripes, "blueprint": blueprint, "sunset": sunset}
