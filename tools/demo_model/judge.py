"""Reads a picture and says whether it shows what the prompt's scene asks for.

Needs numpy, scipy and pillow; no network, no learned weights. The background is the median of the border, objects
are what is left of the picture after background and shadows, one connected component each. A component's colour is the
median of its inside, its shape the outline that overlaps best when it is laid on the component's centre of mass with the
component's area, its size the radius of that outline.

  python judge.py --prompts prompts.json --images DIR     # DIR/0000.png, 0001.png, ... in the order of the prompts
"""
from __future__ import annotations

import argparse
import functools
import json
import sys
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

import shapes
from scenes import BACKGROUNDS, COLORS, IMAGE_SIZE, RADII, relations

_FOREGROUND = 40.0  # RGB distance from the background from which a pixel may be an object
_MIN_AREA = 120  # pixels; the smallest object covers about 350
_MIN_OVERLAP = 0.80  # intersection over union with the best outline; rendered shapes have 0.90 or more


def load(path) -> np.ndarray:
    """(256, 256, 3) float64 in 0..255."""
    picture = Image.open(path).convert("RGB")
    if picture.size != (IMAGE_SIZE, IMAGE_SIZE):
        picture = picture.resize((IMAGE_SIZE, IMAGE_SIZE), Image.LANCZOS)
    return np.asarray(picture, dtype=np.float64)


def border_color(image: np.ndarray) -> np.ndarray:
    edge = np.concatenate([image[:6].reshape(-1, 3), image[-6:].reshape(-1, 3), image[:, :6].reshape(-1, 3), image[:, -6:].reshape(-1, 3)])
    return np.median(edge, 0)


def nearest(color: np.ndarray, palette: dict) -> str:
    names = list(palette)
    away = ((np.array([palette[n] for n in names]) - color) ** 2).sum(1)
    return names[int(away.argmin())]


def foreground(image: np.ndarray, background: np.ndarray) -> np.ndarray:
    """True where a pixel is neither background nor the background darkened by a shadow."""
    away = np.linalg.norm(image - background, axis=2)
    light = np.clip((image @ background) / (background @ background + 1e-9), 0.72, 1.06)
    off_ray = np.linalg.norm(image - light[..., None] * background, axis=2)
    return (away > _FOREGROUND) & (off_ray > 0.6 * _FOREGROUND)


@functools.cache
def _moments(shape: str) -> tuple[float, float, float]:
    """Area, and centre of mass (x, y), of a shape of radius 1."""
    inside = shapes.distance_template(shape) < 0
    rows, cols = np.nonzero(inside)
    unit = 2 * shapes.TEMPLATE_HALF / shapes.TEMPLATE_SIZE
    to_unit = lambda pixel: (pixel.mean() + 0.5) * unit - shapes.TEMPLATE_HALF
    return inside.sum() * unit**2, to_unit(cols), to_unit(rows)


def laid_on(shape: str, mask: np.ndarray) -> tuple[np.ndarray, float]:
    """The filled outline with the area and centre of mass of `mask`, on its grid, and its radius in pixels."""
    rows, cols = np.nonzero(mask)
    area, x, y = _moments(shape)
    radius = (len(rows) / area) ** 0.5
    to_template = lambda pixel, centre, offset: (((pixel - centre) / radius + offset) / shapes.TEMPLATE_HALF + 1) / 2 * shapes.TEMPLATE_SIZE - 0.5
    where = np.meshgrid(to_template(np.arange(mask.shape[0]), rows.mean(), y), to_template(np.arange(mask.shape[1]), cols.mean(), x), indexing="ij")
    return ndimage.map_coordinates(shapes.distance_template(shape), where, order=1, mode="nearest") < 0, radius


def classify_shape(component: np.ndarray) -> tuple[str, float, float]:
    """Name, overlap (intersection over union) and radius of the outline that fits a component best."""
    mask = np.pad(component, max(component.shape) // 4)  # an outline may reach beyond the component
    best = ("", -1.0, 0.0)
    for name in shapes.ALL_SHAPES:
        outline, radius = laid_on(name, mask)
        overlap = (mask & outline).sum() / (mask | outline).sum()
        best = max(best, (name, float(overlap), radius), key=lambda found: found[1])
    return best


def find_objects(image: np.ndarray, background: np.ndarray) -> list[dict]:
    mask = foreground(image, background)
    solid = ndimage.binary_opening(mask)
    labels, _ = ndimage.label(mask, structure=np.ones((3, 3)))
    found = []
    for index, box in enumerate(ndimage.find_objects(labels), 1):
        component = labels[box] == index
        if (component & solid[box]).sum() < _MIN_AREA:
            continue
        inner = ndimage.binary_erosion(component, iterations=2)
        pixels = image[box][inner if inner.sum() >= 20 else component]
        shape, overlap, radius = classify_shape(component)
        found.append({
            "shape": shape, "overlap": overlap, "color": nearest(np.median(pixels, 0), COLORS), "radius": radius,
            "x": (box[1].start + box[1].stop) / 2, "y": (box[0].start + box[0].stop) / 2,
        })
    return found


def size_class(radius: float, count: int) -> str:
    table = RADII[min(max(count, 1), 3)]
    if radius < (table["small"][1] * table["medium"][0]) ** 0.5:
        return "small"
    return "medium" if radius < (table["medium"][1] * table["large"][0]) ** 0.5 else "large"


def _holds(a: dict, relation: str, b: dict) -> bool:
    dx, dy = b["x"] - a["x"], b["y"] - a["y"]
    ahead, aside = (dx, abs(dy)) if relation == "left of" else (dy, abs(dx))
    return ahead > 12 and (aside < ahead * 1.8)


def judge(image: np.ndarray, scene: dict) -> dict:
    """Booleans for count, shapes, colors, sizes, relations, background, and `ok` when all are true."""
    wanted = scene["objects"]
    background = border_color(image)
    found = find_objects(image, background)
    result = {"background": nearest(background, BACKGROUNDS) == scene["background"], "count": len(found) == len(wanted)}
    # Match by shape and colour, the most alike first; positions must then agree with the relations.
    order, left = [], list(found)
    for want in wanted:
        alike = lambda o: (o["shape"] == want["shape"]) * 2 + (o["color"] == want["color"]) * 2 + (size_class(o["radius"], len(wanted)) == want["size"])
        pick = max(left, key=alike, default=None)
        order.append(pick)
        if pick is not None:
            left.remove(pick)
    pairs = list(zip(wanted, order))
    result["shapes"] = all(o is not None and o["shape"] == w["shape"] and o["overlap"] >= _MIN_OVERLAP for w, o in pairs)
    result["colors"] = all(o is not None and o["color"] == w["color"] for w, o in pairs)
    result["sizes"] = all(o is not None and size_class(o["radius"], len(wanted)) == w["size"] for w, o in pairs)
    result["relations"] = all(order[i] is not None and order[j] is not None and _holds(order[i], r, order[j]) for i, r, j in relations(scene))
    result["ok"] = all(result.values())
    return result


def summarize(results: list[dict]) -> dict[str, float]:
    return {key: round(100 * float(np.mean([r[key] for r in results])), 2) for key in results[0]}


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--prompts", type=Path, required=True, help="JSON list of {prompt, scene}")
    parser.add_argument("--images", type=Path, required=True, help="folder of PNG files, sorted by name as the prompts are")
    parser.add_argument("--style", help="score this style's presence instead of the scene")
    parser.add_argument("--verbose", action="store_true", help="a line per picture that fails")
    args = parser.parse_args(argv)
    entries = json.loads(args.prompts.read_text())
    files = sorted(args.images.glob("*.png"))
    if not files or len(files) > len(entries):
        print(f"expected 1 to {len(entries)} PNG files in {args.images}, found {len(files)}", file=sys.stderr)
        return 1
    if args.style:
        from style_judge import style_score
        results = [{"style": style_score(load(f), args.style)} for f in files]
    else:
        results = [judge(load(f), e["scene"]) for f, e in zip(files, entries)]
        for file, entry, result in zip(files, entries, results):
            if args.verbose and not result["ok"]:
                print(file.name, entry["prompt"], [k for k, v in result.items() if not v and k != "ok"])
    print(json.dumps({"pictures": len(files), **summarize(results)}))
    return 0


if __name__ == "__main__":
    sys.exit(main())
