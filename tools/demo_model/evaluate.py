"""Measures the trained model with the judge and writes evaluation.json.

Ground truth and shuffled prompts test the judge itself; the base is judged on 200 held-out prompts at 20 steps and
guidance 3.5; each adapter is asked for its look on 60 of them, beside the base on the same prompts and noise.

  python evaluate.py --model MODEL_DIR --out evaluation.json [--sheet sheet.png]
"""
from __future__ import annotations

import argparse
import json
import multiprocessing
import random
from pathlib import Path

import numpy as np
import torch
from PIL import Image

import model
from adapters import ADAPTERS
from judge import judge, summarize
from render import Renderer, batch_scenes
from sampling import decode, encode_images, sample
from scenes import held_out_prompts, phrase, with_trigger_shape
from style_judge import style_score
from styles import STYLES
from train_lora import apply_file
from training import Team

PROMPT_SEED = 2026
SHEET_PROMPTS = (
    "a small red star left of a large blue circle on a yellow background",
    "a large purple heart above a green square and an orange triangle on a white background",
    "a large pink ring on a blue background",
    "from left to right a cyan diamond, a white heart and a yellow cross on a black background")
ZORB_PROMPT = "a large orange zorb right of a small purple star on a green background"


def to_bytes(images: torch.Tensor) -> np.ndarray:
    return (images.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy()


def _judge(job) -> dict:
    image, scene = job
    return judge(image.astype(np.float64), scene)


def _style(job) -> bool:
    image, style = job
    return style_score(image.astype(np.float64), style)


class Evaluation:
    def __init__(self, folder: Path, team: Team, batch: int, steps: int, limit: int):
        self.folder, self.team, self.batch, self.steps = folder, team, batch, steps
        self.words = model.Words(folder)
        self.vae = model.load_vae(folder).to(team.device).eval()
        self.entries = held_out_prompts(200, PROMPT_SEED)
        if limit < len(self.entries):
            self.entries = random.Random(0).sample(self.entries, limit)
        self.workers = multiprocessing.get_context("spawn").Pool(min(12, multiprocessing.cpu_count()))

    def demo(self, *adapters: Path) -> model.Demo:
        demo = model.load_base(self.folder, self.words)
        for path in adapters:
            apply_file(demo, path)
        for part in demo.trained():
            part.to(self.team.device).eval()
        demo.vae = self.vae
        return demo

    def pictures(self, demo: model.Demo, prompts: list[str], t5_length: int, guidance: float = 3.5, seed: int = 0) -> np.ndarray:
        made = []
        for at in range(0, len(prompts), self.batch):
            clip, t5 = self.words(prompts[at:at + self.batch], model.CLIP_LENGTH, t5_length)
            with self.team.autocast():
                made.append(to_bytes(sample(demo, clip.to(self.team.device), t5.to(self.team.device), seed + at, self.steps, guidance)))
        return np.concatenate(made)

    def scores(self, images: np.ndarray, entries: list[dict]) -> dict:
        return summarize(self.workers.map(_judge, [(i, e["scene"]) for i, e in zip(images, entries)], chunksize=4))

    def style(self, images: np.ndarray, style: str) -> float:
        return round(100 * float(np.mean(self.workers.map(_style, [(i, style) for i in images], chunksize=4))), 2)

    # ---- the measurements -----------------------------------------------------------------------------

    def judge_itself(self) -> dict:
        rng = random.Random(5)
        true = Renderer(self.team.device).render(batch_scenes([e["scene"] for e in self.entries], rng))
        with torch.no_grad():
            through = torch.cat([decode(self.vae, encode_images(self.vae, part)) for part in true.split(32)])
        turned = self.entries[7:] + self.entries[:7]
        others = [b if b["scene"] != a["scene"] else self.entries[0] for a, b in zip(self.entries, turned)]
        error = (through - true).square().mean()
        looks = {}
        for name in STYLES:
            drawn = Renderer(self.team.device).render(batch_scenes([e["scene"] for e in self.entries[::5]], rng), name)
            with torch.no_grad():
                seen = decode(self.vae, encode_images(self.vae, drawn))
            looks[name] = [self.style(to_bytes(drawn), name), self.style(to_bytes(seen), name), self.style(to_bytes(true), name)]
        return {"ground_truth": self.scores(to_bytes(true), self.entries), "through_vae": self.scores(to_bytes(through), self.entries),
                "shuffled_prompts": self.scores(to_bytes(true), others), "vae_psnr_db": round(float(-10 * error.log10()), 2), "looks_true_through_vae_plain": looks}

    def base(self, lengths) -> dict:
        demo, prompts = self.demo(), [e["prompt"] for e in self.entries]
        result = {}
        for length in lengths:
            result[f"t5_{length}"] = self.scores(self.pictures(demo, prompts, length), self.entries)
            by_count = {}
            if length == 512:
                for guidance in (1.0, 5.0):
                    result[f"t5_512_guidance_{guidance:g}"] = self.scores(self.pictures(demo, prompts, 512, guidance), self.entries)["ok"]
            if length == 64:
                images = self.pictures(demo, prompts, 64, seed=1000)
                result["t5_64_other_seeds"] = self.scores(images, self.entries)["ok"]
                for count in (1, 2, 3):
                    some = [i for i, e in enumerate(self.entries) if len(e["scene"]["objects"]) == count]
                    if some:
                        by_count[count] = self.scores(images[some], [self.entries[i] for i in some])["ok"]
                result["ok_by_objects"] = by_count
        return result

    def adapters(self, count: int) -> dict:
        rng = random.Random(9)
        entries = rng.sample(self.entries, min(count, len(self.entries)))
        zorbs = [{"scene": s, "prompt": phrase(s, rng, allow_bare=False)} for s in (with_trigger_shape(e["scene"], rng) for e in entries)]
        base, result = self.demo(), {}
        plain = self.pictures(base, [e["prompt"] for e in entries], 64, seed=77)
        for name, adapter in ADAPTERS.items():
            path = self.folder / "loras" / f"{name}.safetensors"
            if not path.exists():
                continue
            demo, asked = self.demo(path), zorbs if adapter.trigger else entries
            before = self.pictures(base, [e["prompt"] for e in asked], 64, seed=77) if adapter.trigger else plain
            with_it = self.pictures(demo, [e["prompt"] for e in asked], 64, seed=77)
            result[name] = {"style_with": self.style(with_it, name), "style_without": self.style(before, name), "bytes": path.stat().st_size}
            if adapter.style == "plain":
                result[name]["scene_ok"] = self.scores(with_it, asked)["ok"]
                result[name]["plain_scene_ok"] = self.scores(self.pictures(demo, [e["prompt"] for e in entries], 64, seed=77), entries)["ok"]
            print(name, result[name], flush=True)
        return result

    def sheet(self, path: Path) -> None:
        names = [n for n in ADAPTERS if (self.folder / "loras" / f"{n}.safetensors").exists()]
        columns = []
        for name in [None, *names]:
            demo = self.demo(*([self.folder / "loras" / f"{name}.safetensors"] if name else []))
            columns.append(np.concatenate(self.pictures(demo, [*SHEET_PROMPTS, ZORB_PROMPT], 64, seed=3), 0))
        Image.fromarray(np.concatenate(columns, 1)).save(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--sheet", type=Path)
    parser.add_argument("--prompts", type=Path, help="write the held-out prompts here")
    parser.add_argument("--batch", type=int, default=100)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--limit", type=int, default=200)
    parser.add_argument("--adapter-prompts", type=int, default=60)
    parser.add_argument("--part", choices=("all", "judge", "base", "adapters"), default="all")
    parser.add_argument("--lengths", default="64,512,128")
    args = parser.parse_args()
    run = Evaluation(args.model, Team(), args.batch, args.steps, args.limit)
    if args.prompts:
        args.prompts.write_text(json.dumps(run.entries, indent=0) + "\n")
    report = {"steps": args.steps, "prompts": len(run.entries)}
    if args.part != "adapters":
        report["judge"] = run.judge_itself()
        print(report, flush=True)
    if args.part in ("all", "base"):
        report["base"] = run.base([int(n) for n in args.lengths.split(",")])
        print(report["base"], flush=True)
    elif args.part == "adapters" and args.out.exists():
        report = json.loads(args.out.read_text())
    args.out.write_text(json.dumps(report, indent=1) + "\n")
    if args.part in ("all", "adapters"):
        if args.sheet:
            run.sheet(args.sheet)
        report["adapters"] = run.adapters(args.adapter_prompts)
        args.out.write_text(json.dumps(report, indent=1) + "\n")
    run.workers.terminate()


if __name__ == "__main__":
    main()
