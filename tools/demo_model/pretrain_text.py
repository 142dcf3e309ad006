"""Teaches both text encoders to read scenes, before any picture is drawn.

The T5 encoder learns to say at every word which object the word belongs to, what that object looks like and where it stands;
CLIP's pooled vector learns to hold the whole scene. Linear heads read both; they are thrown away. A CPU is enough.

  python pretrain_text.py --model MODEL_DIR --minutes 10
"""
from __future__ import annotations

import argparse
import json
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import model
import shapes
from scenes import BACKGROUNDS, COLORS, IMAGE_SIZE, SIZES, held_out_prompts, phrase, place, sample_training_scene, with_trigger_shape
from training import seconds_for

LAYOUTS = ("row", "column", "over", "under")
SLOTS = 3
FIELDS = {"shape": len(shapes.ALL_SHAPES) + 1, "color": len(COLORS) + 1, "size": len(SIZES) + 1}  # the last class: no object
IGNORE = -100
_SIZE_WORDS = {"small", "tiny", "little", "large", "big", "huge"}


class Middle:
    """Stands for random.Random where the middle of every range is wanted."""

    @staticmethod
    def uniform(low: float, high: float) -> float:
        return (low + high) / 2


def object_targets(scene: dict) -> list[tuple[int, int, int, list[float]]]:
    """(shape, color, size, [x, y, R]) per object; places without jitter, in -1..1 and 0..1."""
    half, colors = IMAGE_SIZE / 2, list(COLORS)
    return [(shapes.ALL_SHAPES.index(o["shape"]), colors.index(o["color"]), SIZES.index(o["size"]), [x / half - 1, y / half - 1, r / half])
            for o, (x, y, r) in zip(scene["objects"], place(scene, Middle))]


def owners(tokens: list[str], scene: dict) -> list[int]:
    """For every T5 token the object whose phrase it is part of, or -1."""
    plain, found = [t.lstrip("▁").lower() for t in tokens], [-1] * len(tokens)
    for index, item in enumerate(scene["objects"]):
        names = {item["color"], "violet"} if item["color"] == "purple" else {item["color"]}
        for k in range(len(plain) - 1):
            if plain[k] in names and plain[k + 1] == item["shape"]:
                first = k - 1 if k and plain[k - 1] in _SIZE_WORDS else k
                first -= first > 0 and plain[first - 1] in ("a", "an")
                found[first:k + 2] = [index] * (k + 2 - first)
    return found


def make_batch(words: model.Words, rng: random.Random, count: int, length: int, scenes=None, prompts=None) -> dict:
    scenes = scenes or [sample_training_scene(rng) for _ in range(count)]
    if prompts is None:
        scenes = [with_trigger_shape(s, rng) if rng.random() < 0.1 else s for s in scenes]
        prompts = [phrase(s, rng) for s in scenes]
    clip, t5 = words(prompts, model.CLIP_TRAIN_LENGTH, length)
    token = {name: torch.full(t5.shape, IGNORE) for name in FIELDS}
    token_place = torch.full((*t5.shape, 3), float("nan"))
    slot = {name: torch.full((len(scenes), SLOTS), size - 1) for name, size in FIELDS.items()}
    slot_place = torch.full((len(scenes), SLOTS, 3), float("nan"))
    for row, scene in enumerate(scenes):
        targets = object_targets(scene)
        for i, target in enumerate(targets):
            for name, value in zip(FIELDS, target):
                slot[name][row, i] = value
            slot_place[row, i] = torch.tensor(target[3])
        for position, owner in enumerate(owners(words.t5.convert_ids_to_tokens(t5[row, :40].tolist()), scene)):
            if owner >= 0:
                for name, value in zip(FIELDS, targets[owner]):
                    token[name][row, position] = value
                token_place[row, position] = slot_place[row, owner]
    background = torch.tensor([list(BACKGROUNDS).index(s["background"]) for s in scenes])
    kind = torch.tensor([LAYOUTS.index(s["layout"]) * SLOTS + len(s["objects"]) - 1 for s in scenes])
    return dict(clip=clip, t5=t5, token=token, token_place=token_place, slot=slot, slot_place=slot_place, background=background, kind=kind)


def to_device(batch: dict, device) -> dict:
    return {k: v.to(device, non_blocking=True) if torch.is_tensor(v) else to_device(v, device) for k, v in batch.items()}


class Heads(torch.nn.Module):
    """Linear readers of T5 states (128) and of CLIP's pooled vector (96)."""

    def __init__(self, t5_width: int, clip_width: int):
        super().__init__()
        self.token = torch.nn.Linear(t5_width, sum(FIELDS.values()) + 3 + len(BACKGROUNDS))
        self.pooled = torch.nn.Linear(clip_width, SLOTS * (sum(FIELDS.values()) + 3) + len(BACKGROUNDS) + len(LAYOUTS) * SLOTS)


def _place_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    known = ~true.isnan()
    return torch.where(known, made - true.nan_to_num(), 0.0).square().sum() / known.sum().clamp(min=1) * 10


def losses(demo: model.Demo, heads: Heads, batch: dict, measure: bool = True) -> tuple[torch.Tensor, dict]:
    pooled, states = demo.encode(batch["clip"], batch["t5"])
    sizes, right = list(FIELDS.values()), {}
    *fields, spot, ground = heads.token(states).split([*sizes, 3, len(BACKGROUNDS)], -1)
    total = _place_loss(spot, batch["token_place"])
    total = total + 0.3 * F.cross_entropy(ground.transpose(1, 2), batch["background"][:, None].expand(ground.shape[:2]))
    if measure:
        right["t5 background"] = (ground.argmax(-1) == batch["background"][:, None]).float().mean()
    for (name, true), made in zip(batch["token"].items(), fields):
        total = total + F.cross_entropy(made.transpose(1, 2), true, ignore_index=IGNORE)
        if measure:
            right["t5 " + name] = (made.argmax(-1) == true)[true != IGNORE].float().mean()
    known = ~batch["token_place"].isnan()
    if measure:
        right["t5 place error px"] = (spot - batch["token_place"])[known].abs().mean() * 128
    slots, ground, kind = heads.pooled(pooled).split([SLOTS * (sum(sizes) + 3), len(BACKGROUNDS), len(LAYOUTS) * SLOTS], -1)
    *fields, spot = slots.view(len(slots), SLOTS, -1).split([*sizes, 3], -1)
    total = total + _place_loss(spot, batch["slot_place"]) + F.cross_entropy(ground, batch["background"]) + F.cross_entropy(kind, batch["kind"])
    if measure:
        right["clip background"], right["clip kind"] = ((m.argmax(-1) == batch[n]).float().mean() for m, n in ((ground, "background"), (kind, "kind")))
    for (name, true), made in zip(batch["slot"].items(), fields):
        total = total + F.cross_entropy(made.flatten(0, 1), true.flatten()) * 2
        if measure:
            right["clip " + name] = (made.argmax(-1) == true)[true < FIELDS[name] - 1].float().mean()
    return total, {k: v.detach() for k, v in right.items()}


class Lessons(torch.utils.data.IterableDataset):
    """Endless batches; T5 prompts are padded mostly to 32 tokens, now and then to 64 and 512."""

    def __init__(self, folder: Path, batch: int, long_every: int, seed: int):
        self.folder, self.batch, self.long_every, self.seed = folder, batch, long_every, seed

    def __iter__(self):
        torch.set_num_threads(1)
        worker = torch.utils.data.get_worker_info()
        rng, words, step = random.Random(self.seed * 1009 + (worker.id if worker else 0)), model.Words(self.folder), 0
        while True:
            step += 1
            length = 512 if step % 60 == 0 else 64 if step % self.long_every == 0 else 32
            yield make_batch(words, rng, max(self.batch * 32 // length, 2), length)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--until", type=float, help="in place of --minutes: seconds since 1970")
    parser.add_argument("--batch", type=int, default=96)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--long-every", type=int, default=6)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--resume", action="store_true", help="go on with the encoders in the folder")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    torch.manual_seed(args.seed)
    torch.set_float32_matmul_precision("high")
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    words = model.Words(args.model)
    demo = model.load_base(args.model, words) if args.resume else model.new_base(words)
    if not args.resume:
        with torch.no_grad():  # small embeddings, so that context shows beside the word itself
            demo.text_encoder_2.shared.weight.mul_(0.25)
    heads = Heads(demo.text_encoder_2.config.d_model, demo.text_encoder.config.hidden_size)
    for part in (demo.text_encoder, demo.text_encoder_2, heads):
        part.to(device)
    lessons = Lessons(args.model, args.batch, args.long_every, args.seed)
    source = iter(torch.utils.data.DataLoader(lessons, batch_size=None, num_workers=args.workers, prefetch_factor=4 if args.workers else None))
    parameters = [p for m in (demo.text_encoder, demo.text_encoder_2, heads) for p in m.parameters()]
    optimizer = torch.optim.AdamW(parameters, args.rate, betas=(0.9, 0.98), weight_decay=0.01, foreach=True)
    start, step, done, seconds = time.time(), 0, 0.0, seconds_for(args.minutes, args.until)
    while done < 1:
        loss, right = losses(demo, heads, to_device(next(source), device), step % 100 == 99)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        for group in optimizer.param_groups:
            group["lr"] = args.rate * min((step + 1) / 100, 1) * max(min((1 - done) / 0.5, 1), 0.03)
        optimizer.step()
        step, done = step + 1, (time.time() - start) / seconds
        if step % 100 == 0:
            numbers = {k: round(float(v), 4) for k, v in right.items()}
            print(f"text step {step} done {done:.2f} loss {float(loss.detach()):.3f}", json.dumps(numbers), flush=True)
    entries = held_out_prompts(200, 2026)
    with torch.no_grad():
        for length, part in ((64, entries), (512, entries[::4])):
            batch = make_batch(words, random.Random(0), 0, length, [e["scene"] for e in part], [e["prompt"] for e in part])
            right = losses(demo, heads, to_device(batch, device))[1]
            print("held out, length", length, json.dumps({k: round(float(v), 4) for k, v in right.items()}), flush=True)
    model.save_base(args.model, demo)


if __name__ == "__main__":
    main()
