"""Renders batches of scenes with torch, anti-aliased, on whatever device the tensors live."""
from __future__ import annotations

import random
from dataclasses import dataclass

import torch
import torch.nn.functional as F

import shapes
from scenes import BACKGROUNDS, COLORS, IMAGE_SIZE, place

MAX_OBJECTS = 3
_SHADOW = 0.15  # darkening under an object
_SHADING = 0.07  # lighter at the top left, darker at the bottom right of an object
_OBJECT_COLORS, _BACKGROUND_COLORS = list(COLORS), list(BACKGROUNDS)


@dataclass
class SceneBatch:
    """Scenes as tensors. shape, color: (B, 3) int64, shape -1 where there is no object; xyr: (B, 3, 3) pixels."""
    shape: torch.Tensor
    color: torch.Tensor
    xyr: torch.Tensor
    background: torch.Tensor  # (B,) int64
    noise_seed: int = 0

    def to(self, device) -> "SceneBatch":
        move = lambda t: t.to(device, non_blocking=True)
        return SceneBatch(move(self.shape), move(self.color), move(self.xyr), move(self.background), self.noise_seed)


def pack_scene(scene: dict, rng: random.Random) -> tuple[list, list, list, int]:
    shape, color, xyr = [-1] * MAX_OBJECTS, [0] * MAX_OBJECTS, [[128.0, 128.0, 20.0]] * MAX_OBJECTS
    for i, (item, spot) in enumerate(zip(scene["objects"], place(scene, rng))):
        shape[i], color[i] = shapes.ALL_SHAPES.index(item["shape"]), _OBJECT_COLORS.index(item["color"])
        xyr[i] = list(spot)
    return shape, color, xyr, _BACKGROUND_COLORS.index(scene["background"])


def batch_scenes(scenes: list[dict], rng: random.Random) -> SceneBatch:
    rows = [pack_scene(s, rng) for s in scenes]
    return SceneBatch(torch.tensor([r[0] for r in rows]), torch.tensor([r[1] for r in rows]),
                      torch.tensor([r[2] for r in rows]), torch.tensor([r[3] for r in rows]), rng.randrange(1 << 30))


@dataclass
class Layers:
    """What the styles draw from. All on one device, float32, colours in 0..1."""
    distance: torch.Tensor  # (B, 3, H, W) signed distance to each object in pixels, large where there is none
    color: torch.Tensor  # (B, 3, 3) object colours
    background: torch.Tensor  # (B, 3)
    xyr: torch.Tensor  # (B, 3, 3)
    grid: tuple[torch.Tensor, torch.Tensor]  # y (H, 1), x (1, W): pixel centres

    @property
    def size(self) -> int:
        return self.distance.shape[-1]

    def coverage(self) -> torch.Tensor:
        """(B, 3, H, W) share of each pixel an object covers."""
        return (0.5 - self.distance).clamp(0, 1)


class Renderer:
    def __init__(self, device="cpu"):
        self.device = torch.device(device)
        stack = [torch.from_numpy(shapes.distance_template(name)) for name in shapes.ALL_SHAPES]
        self.templates = torch.stack(stack)[:, None].to(self.device)
        self.colors = torch.tensor(list(COLORS.values()), device=self.device) / 255.0
        self.backgrounds = torch.tensor(list(BACKGROUNDS.values()), device=self.device) / 255.0
        axis = torch.arange(IMAGE_SIZE, device=self.device, dtype=torch.float32) + 0.5
        self.grid = (axis[:, None], axis[None, :])

    def layers(self, batch: SceneBatch) -> Layers:
        count = batch.shape.shape[0]
        y, x = self.grid
        cx, cy, radius = (batch.xyr[..., i].reshape(-1, 1, 1) for i in range(3))
        scale = radius * shapes.TEMPLATE_HALF
        where = torch.stack(torch.broadcast_tensors((x - cx) / scale, (y - cy) / scale), -1)
        edge = 1 - 1.0 / shapes.TEMPLATE_SIZE
        near = where.clamp(-edge, edge)
        beyond = (where - near).norm(dim=-1) * scale  # outside the template the distance goes on growing
        table = self.templates[batch.shape.clamp(min=0).reshape(-1)]
        distance = F.grid_sample(table, near, align_corners=False)[:, 0] * radius + beyond
        distance = distance.view(count, MAX_OBJECTS, IMAGE_SIZE, IMAGE_SIZE)
        distance = torch.where(batch.shape[..., None, None] < 0, torch.full_like(distance, 1e3), distance)
        return Layers(distance, self.colors[batch.color], self.backgrounds[batch.background], batch.xyr, self.grid)

    def plain(self, layers: Layers) -> torch.Tensor:
        """(B, 3, H, W) in 0..1: the look of the base model."""
        y, x = layers.grid
        image = layers.background[:, :, None, None] * (1.025 - 0.05 * y / layers.size)
        radius = layers.xyr[..., 2, None, None]
        lowered = torch.roll(layers.distance, (6, 3), (2, 3))  # a soft shadow: the distance field moved down
        shadow = (0.5 - lowered / (0.22 * radius + 4)).clamp(0, 1).amax(1, keepdim=True)
        image = image * (1 - _SHADOW * shadow)
        coverage = layers.coverage()
        for i in range(MAX_OBJECTS):
            cx, cy = layers.xyr[:, i, 0, None, None], layers.xyr[:, i, 1, None, None]
            slope = ((x - cx) + (y - cy)) / (2 * radius[:, i])
            tone = (1 - _SHADING * slope.clamp(-1.2, 1.2))[:, None]
            image = torch.lerp(image, layers.color[:, i, :, None, None] * tone, coverage[:, i, None])
        return image.clamp(0, 1)

    def render(self, batch: SceneBatch, style: str = "plain") -> torch.Tensor:
        import styles
        layers = self.layers(batch.to(self.device))
        plain = self.plain(layers)
        if style == "plain":
            return plain
        generator = torch.Generator(device=self.device).manual_seed(batch.noise_seed)
        return styles.STYLES[style](layers, plain, generator).clamp(0, 1)
