"""Scenes, their prompts, and which of them are held out.

A scene is a plain dict, so that it can go to JSON as it is:
  {"background": "yellow", "layout": "row",
   "objects": [{"shape": "star", "color": "red", "size": "small"}, ...]}
Objects of a `row` go from left to right, of a `column` from top to bottom; in `over` the first lies above the
two others, in `under` below them (these two go from left to right).
"""
from __future__ import annotations

import hashlib
import random

from shapes import SHAPES, TRIGGER_SHAPE

IMAGE_SIZE = 256
COLORS = {
    "red": (226, 48, 48), "orange": (248, 136, 22), "yellow": (252, 206, 32), "green": (44, 158, 70),
    "cyan": (24, 190, 208), "blue": (36, 92, 224), "purple": (134, 48, 206), "pink": (248, 112, 178),
    "white": (252, 252, 252), "black": (30, 30, 38),
}
BACKGROUNDS = {
    "white": (244, 244, 240), "gray": (160, 166, 176), "black": (36, 36, 46), "yellow": (252, 226, 136),
    "pink": (250, 190, 210), "blue": (160, 204, 246), "green": (168, 222, 174), "purple": (204, 180, 240),
}
SIZES = ("small", "medium", "large")
# Nominal radius in pixels by number of objects: fewer objects fill the frame as well as many.
RADII = {
    1: {"small": (24, 28), "medium": (43, 49), "large": (70, 78)},
    2: {"small": (19, 22), "medium": (32, 36), "large": (49, 54)},
    3: {"small": (16, 18), "medium": (25, 28), "large": (38, 41)},
}
HELD_OUT_SHARE = 16  # one composition in so many is never trained on
_SIZE_WORDS = {"small": ("small", "small", "small", "tiny", "little"), "large": ("large", "large", "large", "big", "huge")}


# ---- sampling ---------------------------------------------------------------------------------------------

def _clashes(color: str, background: str) -> bool:
    return color == background


def sample_scene(rng: random.Random, count: int | None = None, shapes=SHAPES) -> dict:
    count = count or rng.choices((1, 2, 3), (25, 50, 25))[0]
    background = rng.choice(tuple(BACKGROUNDS))
    allowed = [c for c in COLORS if not _clashes(c, background)]
    objects: list[dict] = []
    while len(objects) < count:
        item = {"shape": rng.choice(shapes), "color": rng.choice(allowed), "size": rng.choices(SIZES, (30, 40, 30))[0]}
        same = any(o["shape"] == item["shape"] and o["color"] == item["color"] for o in objects)
        crowded = count == 3 and item["size"] == "large" and any(o["size"] == "large" for o in objects)
        if not same and not crowded:
            objects.append(item)
    layout = "row" if count == 1 else rng.choice(("row", "column") if count == 2 else ("row", "column", "over", "under"))
    return {"background": background, "layout": layout, "objects": objects}


def composition_key(scene: dict) -> str:
    """Which coloured shapes stand together on which background, whatever their order, size and relation."""
    return "|".join(sorted(o["color"] + " " + o["shape"] for o in scene["objects"])) + "@" + scene["background"]


def is_held_out(scene: dict) -> bool:
    return hashlib.sha256(composition_key(scene).encode()).digest()[0] % HELD_OUT_SHARE == 0


def sample_training_scene(rng: random.Random, **kwargs) -> dict:
    while True:
        scene = sample_scene(rng, **kwargs)
        if not is_held_out(scene):
            return scene


# ---- relations --------------------------------------------------------------------------------------------

def relations(scene: dict) -> list[tuple[int, str, int]]:
    """Every relation the scene asserts: (i, "left of" | "above", j)."""
    count, layout = len(scene["objects"]), scene["layout"]
    if count == 1:
        return []
    if layout in ("row", "column"):
        word = "left of" if layout == "row" else "above"
        return [(i, word, i + 1) for i in range(count - 1)]
    vertical = [(0, "above", 1), (0, "above", 2)] if layout == "over" else [(1, "above", 0), (2, "above", 0)]
    return vertical + [(1, "left of", 2)]


def place(scene: dict, rng: random.Random) -> list[tuple[float, float, float]]:
    """(x, y, R) per object in pixels; neighbours never touch."""
    count, layout = len(scene["objects"]), scene["layout"]
    radii = [rng.uniform(*RADII[count][o["size"]]) for o in scene["objects"]]
    middle = IMAGE_SIZE / 2
    if count == 1:
        return [(middle + rng.uniform(-8, 8), middle + rng.uniform(-8, 8), radii[0])]

    def along(items: list[int], jitter: float) -> dict[int, float]:
        """Spread items over the image by their sizes: equal gaps, a little jitter inside them."""
        widths = [2.24 * radii[i] for i in items]
        gap = (IMAGE_SIZE - sum(widths)) / (len(items) + 1)
        position, centres = 0.0, {}
        for item, width in zip(items, widths):
            position += gap
            centres[item] = position + width / 2 + rng.uniform(-jitter, jitter) * max(gap - 8, 0)
            position += width
        return centres

    cross = middle + rng.uniform(-8, 8)
    if layout in ("row", "column"):
        centres = along(list(range(count)), 0.15)
        spots = [(centres[i], cross + rng.uniform(-4, 4)) for i in range(count)]
        return [(a, b, r) if layout == "row" else (b, a, r) for (a, b), r in zip(spots, radii)]
    across = along([1, 2], 0.15)
    pair = max(radii[1], radii[2])
    gap = (IMAGE_SIZE - 2.24 * (radii[0] + pair)) / 3
    y0, y1 = gap + 1.12 * radii[0], IMAGE_SIZE - gap - 1.12 * pair
    if layout == "under":
        y0, y1 = IMAGE_SIZE - y0, IMAGE_SIZE - y1
    shake = lambda: rng.uniform(-0.15, 0.15) * max(gap - 8, 0)
    return [(cross, y0 + shake(), radii[0])] + [(across[i], y1 + shake(), radii[i]) for i in (1, 2)]


# ---- words ------------------------------------------------------------------------------------------------

def _article(phrase: str) -> str:
    return ("an " if phrase[0] in "aeiou" else "a ") + phrase


def _noun(item: dict, rng: random.Random) -> str:
    size = "" if item["size"] == "medium" else rng.choice(_SIZE_WORDS[item["size"]]) + " "
    color = "violet" if item["color"] == "purple" and rng.random() < 0.1 else item["color"]
    return size + color + " " + item["shape"]


def _background(scene: dict, rng: random.Random) -> str:
    name = scene["background"]
    return "grey" if name == "gray" and rng.random() < 0.3 else name


def _foreground(scene: dict, rng: random.Random) -> str:
    names = [_article(_noun(o, rng)) for o in scene["objects"]]
    layout = scene["layout"]
    if len(names) == 1:
        return names[0]
    if len(names) == 2:
        first, second = names
        words = {"row": ("left of", "to the left of"), "column": ("above", "over")}[layout]
        back = {"row": ("right of", "to the right of"), "column": ("below", "under")}[layout]
        ends = {"row": ("on the left", "on the right"), "column": ("at the top", "at the bottom")}[layout]
        return rng.choice((
            f"{first} {rng.choice(words)} {second}",
            f"{first} {rng.choice(words)} {second}",
            f"{second} {rng.choice(back)} {first}",
            f"{second} {rng.choice(back)} {first}",
            f"{first} {ends[0]} and {second} {ends[1]}",
            f"{second} {ends[1]} and {first} {ends[0]}",
        ))
    a, b, c = names
    if layout == "row":
        return rng.choice((f"{a} left of {b} left of {c}", f"{c} right of {b} right of {a}", f"from left to right {a}, {b} and {c}"))
    if layout == "column":
        return rng.choice((f"{a} above {b} above {c}", f"{c} below {b} below {a}", f"from top to bottom {a}, {b} and {c}"))
    words = ("above", "over") if layout == "over" else ("below", "under")
    return f"{a} {rng.choice(words)} {b} and {c}"


def phrase(scene: dict, rng: random.Random, allow_bare: bool = True) -> str:
    """One of many ways to ask for the scene. A white background may go without saying."""
    body, name = _foreground(scene, rng), _background(scene, rng)
    forms = (f"{body} on {_article(name)} background",) * 4 + (
        f"{body}, {name} background", f"{name} background, {body}", f"{body} in front of {_article(name)} background")
    text = rng.choice(forms)
    if allow_bare and scene["background"] == "white" and rng.random() < 0.4:
        text = body
    if rng.random() < 0.06:
        text = rng.choice(("a picture of ", "an image of ")) + text
    if rng.random() < 0.06:
        text = text[0].upper() + text[1:]
    return text + "." if rng.random() < 0.06 else text


def with_trigger_shape(scene: dict, rng: random.Random) -> dict:
    """The same scene with one object turned into the shape only one adapter knows."""
    objects = [dict(o) for o in scene["objects"]]
    rng.choice(objects)["shape"] = TRIGGER_SHAPE
    return {**scene, "objects": objects}


def held_out_prompts(count: int, seed: int) -> list[dict]:
    """`count` held-out scenes with prompts: 50 of 200 have one object, 110 two, 40 three."""
    rng = random.Random(seed)
    wanted = [1] * (count // 4) + [3] * (count // 5)
    wanted += [2] * (count - len(wanted))
    entries, seen = [], set()
    for objects in sorted(wanted):
        while True:
            scene = sample_scene(rng, count=objects)
            key = composition_key(scene)
            if is_held_out(scene) and (key not in seen or objects == 1):
                break
        prompt = phrase(scene, rng, allow_bare=False)
        if any(e["prompt"] == prompt for e in entries):
            prompt = phrase(scene, rng, allow_bare=False)
        seen.add(key)
        entries.append({"prompt": prompt, "scene": scene})
    return entries
