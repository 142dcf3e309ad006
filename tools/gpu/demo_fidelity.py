"""What bf16 and fp8 cost the demo model's pictures: its 200 held-out prompts and its eight adapters in f32, bf16 and fp8, judged as
tools/demo_model judges them.

  python tools/gpu/demo_fidelity.py --program build/gpu/draw_prompts --model models/demo --out OUT

Columns: f32 on the GPU, which is the yardstick; bf16 and fp8 with merged adapters; fp8 with adapters in the fronts of weights. Rows: the share
of base pictures in which all is right, and its parts; the share of an adapter's pictures that have its look, on prompts and seeds of
their own. Base and all looks together are judged by their points; a single look from 100 pictures on (--adapter-prompts 200): yes within
a point, NO where more than luck has made it more (two standard errors, from the pictures that differ), else open. Below, relative errors of the latents (minus noise) against the CPU in f32.
Writes fidelity.json and fidelity.md to --out; the exit status is 1 if a verdict is no.
"""

import argparse
import json
import multiprocessing
import pathlib
import random
import subprocess
import sys
import time

import numpy as np

DEMO_TOOLS = pathlib.Path(__file__).resolve().parent.parent / "demo_model"
sys.path.insert(0, str(DEMO_TOOLS))

import judge as scene_judge  # noqa: E402  (tools/demo_model)
from scenes import phrase, with_trigger_shape  # noqa: E402
from style_judge import SCORES, style_score  # noqa: E402

CONFIGS = {
    "f32": ["--device", "cuda", "--precision", "f32"],
    "bf16": ["--device", "cuda", "--precision", "bf16", "--adapter-mode", "merged"],
    "fp8": ["--device", "cuda", "--precision", "fp8", "--adapter-mode", "merged"],
    "fp8 unmerged": ["--device", "cuda", "--precision", "fp8", "--adapter-mode", "unmerged"],
}
CPU = ["--device", "cpu", "--precision", "f32"]
ADAPTER_SEED, ADAPTER_PROMPTS = 9, 60  # as evaluate.py
FIRST_SEED, FIRST_ADAPTER_SEED = 0, 77
COMPARED = 8  # latents, of the base and of the adapter on all linears
COMPARED_ADAPTER = "pixel"
POINTS = 1.0
ENOUGH = 100  # pictures of a look, to judge it alone


class Entry:
    """A picture that is wanted: its name, adapter, seed, prompt, and what it should show."""

    def __init__(self, name, adapter, seed, entry):
        self.name, self.adapter, self.seed, self.entry = name, adapter, seed, entry

    def line(self, model):
        file = model / "loras" / f"{self.adapter}.safetensors" if self.adapter else ""
        return f"{self.name}\t{file}\t{self.seed}\t{self.entry['prompt']}\n"


def wanted_pictures(model, adapter_prompts, base_prompts):
    """Base pictures, then those of each adapter; an adapter with a trigger word is asked for its shape."""
    entries = json.loads((model / "prompts.json").read_text())
    base = [Entry(f"base/{i:03d}", None, FIRST_SEED + i, entry) for i, entry in enumerate(entries[:base_prompts])]
    rng = random.Random(ADAPTER_SEED)
    some = rng.sample(entries, adapter_prompts)
    zorbs = [{"scene": scene, "prompt": phrase(scene, rng, allow_bare=False)} for scene in (with_trigger_shape(e["scene"], rng) for e in some)]
    styled = [Entry(f"{name}/{i:03d}", name, FIRST_ADAPTER_SEED + i, entry)
              for name in SCORES for i, entry in enumerate(zorbs if name == "zorb" else some)]
    return base, styled


def read_tensors(path):
    """Of a safetensors file with bytes and f32."""
    with open(path, "rb") as file:
        header = json.loads(file.read(int.from_bytes(file.read(8), "little")))
        start = file.tell()
    data = np.memmap(path, np.uint8, "r")
    types = {"U8": np.uint8, "F32": np.float32}
    return {name: data[start + about["data_offsets"][0]:start + about["data_offsets"][1]].view(types[about["dtype"]]).reshape(about["shape"])
            for name, about in header.items() if name != "__metadata__"}


class Drawing:
    """One configuration in a process of its own."""

    def __init__(self, program, model, name, arguments, entries, folder):
        self.name, self.out = name, folder / f"{name.replace(' ', '-')}.safetensors"
        jobs = self.out.with_suffix(".tsv")
        jobs.write_text("".join(entry.line(model) for entry in entries))
        self.process = subprocess.Popen([program, model, "--jobs", jobs, "--out", self.out, *arguments], stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE, text=True)

    def results(self, deadline):
        try:
            output, errors = self.process.communicate(timeout=max(deadline - time.monotonic(), 1))
        except subprocess.TimeoutExpired:
            self.process.kill()
            raise SystemExit(f"demo_fidelity: {self.name} did not end in time; run with more --budget or fewer prompts")
        if self.process.returncode != 0:
            raise SystemExit(f"demo_fidelity: {self.name}: {errors.strip()}")
        about = json.loads(output.splitlines()[-1])
        print(f"{self.name}: {about['pictures']} pictures in {about['draw_s']:.1f} s on {about['device']}, {about['precision']}"
              f"{', merged' if about['merged'] else ''}, loaded in {about['load_s']:.1f} s, {about['captures']} steps recorded", flush=True)
        return about, read_tensors(self.out)


def scene_of(job):
    picture, scene = job
    return scene_judge.judge(picture.astype(np.float64), scene)


def look_of(job):
    picture, name = job
    return style_score(picture.astype(np.float64), name)


def judged(pool, tensors, base, styled):
    """Per measure the verdict on each picture."""
    scenes = pool.map(scene_of, [(np.array(tensors[e.name]), e.entry["scene"]) for e in base], chunksize=4)
    verdicts = {key: [bool(scene[key]) for scene in scenes] for key in ("ok", "count", "shapes", "colors", "sizes", "relations", "background")}
    looks = pool.map(look_of, [(np.array(tensors[e.name]), e.adapter) for e in styled], chunksize=4)
    for name in SCORES:
        verdicts[name] = [bool(look) for entry, look in zip(styled, looks) if entry.adapter == name]
    verdicts["looks"] = [bool(look) for look in looks]
    return verdicts


def percent(values):
    return 100 * sum(values) / len(values)


def relative(value, truth):
    value, truth = value.astype(np.float64), truth.astype(np.float64)
    return float(np.linalg.norm(value - truth) / np.linalg.norm(truth))


def verdict_of(measure, points, changed, pictures):
    """Empty where it is not judged."""
    whole = measure in ("ok", "looks")
    if not whole and (measure not in SCORES or pictures < ENOUGH):
        return ""
    luck = 0 if whole else 2 * 100 * changed**0.5 / pictures
    return "yes" if abs(points) <= POINTS else "NO" if abs(points) - luck > POINTS else "open"


def table_of(verdicts):
    """Lines of Markdown, the numbers behind them, and whether all is well."""
    others = [name for name in verdicts if name != "f32"]
    lines = ["| % of pictures | f32 | " + " | ".join(others) + " |", "| --- |" + " --- |" * (1 + len(others))]
    numbers, well = {}, True
    for measure, truth in verdicts["f32"].items():
        row = {"pictures": len(truth), "f32": percent(truth)}
        cells = [f"{row['f32']:.1f}"]
        for name in others:
            found = verdicts[name][measure]
            points = percent(found) - row["f32"]
            changed = sum(a != b for a, b in zip(found, truth))
            verdict = verdict_of(measure, points, changed, len(truth))
            row[name] = {"percent": percent(found), "points": points, "changed": changed, "verdict": verdict}
            cells.append(f"{percent(found):.1f} ({points:+.1f}; {changed} other) {verdict}".rstrip())
            well &= verdict != "NO"
        numbers[measure] = row
        label = {"ok": "**base: all right**", "looks": "**all looks**"}.get(measure, measure)
        lines.append(f"| {label}, of {len(truth)} | " + " | ".join(cells) + " |")
    return lines, numbers, well


def latents_of(truth, drawn, names):
    lines = ["| latents minus noise, against the CPU in f32 | mean | largest |", "| --- | --- | --- |"]
    numbers = {}
    for config, tensors in drawn.items():
        for kind, some in names.items():
            errors = [relative(tensors[f"{name}.moved"], truth[f"{name}.moved"]) for name in some]
            numbers[f"{config}, {kind}"] = errors
            lines.append(f"| {config}, {kind} | {np.mean(errors):.2e} | {max(errors):.2e} |")
    return lines, numbers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, required=True, help="draw_prompts")
    parser.add_argument("--model", type=pathlib.Path, default=pathlib.Path("models/demo"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("out"))
    parser.add_argument("--work", type=pathlib.Path, default=pathlib.Path("/tmp/demo-fidelity"), help="for the pictures, 700 MB")
    parser.add_argument("--adapter-prompts", type=int, default=ADAPTER_PROMPTS)
    parser.add_argument("--base-prompts", type=int, default=200)
    parser.add_argument("--budget", type=float, default=85, help="seconds for everything")
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--on-cpu", action="store_true", help="f32 on the CPU in place of every configuration: to try this program out")
    args = parser.parse_args()
    deadline = time.monotonic() + args.budget
    for folder in (args.out, args.work):
        folder.mkdir(parents=True, exist_ok=True)

    base, styled = wanted_pictures(args.model, args.adapter_prompts, args.base_prompts)
    compared = {"base": [e.name for e in base[::max(len(base) // COMPARED, 1)]][:COMPARED],
                COMPARED_ADAPTER: [e.name for e in styled if e.adapter == COMPARED_ADAPTER][:COMPARED]}
    few = [e for e in base + styled if e.name in compared["base"] + compared[COMPARED_ADAPTER]]
    steps = ["--steps", str(args.steps)]
    drawings = {name: Drawing(args.program, args.model, name, (CPU if args.on_cpu else arguments) + steps, base + styled, args.work)
                for name, arguments in CONFIGS.items()}
    truth = Drawing(args.program, args.model, "cpu", CPU + steps, few, args.work)

    report = {"configurations": {}, "seconds": {}}
    drawn = {}
    try:
        for name, drawing in drawings.items():
            report["configurations"][name], drawn[name] = drawing.results(deadline)
        report["configurations"]["cpu"], cpu = truth.results(deadline)
    finally:
        for drawing in [*drawings.values(), truth]:
            drawing.process.kill()  # those that are left when one has failed
    report["seconds"]["drawn"] = args.budget - (deadline - time.monotonic())
    with multiprocessing.get_context("fork").Pool() as pool:
        verdicts = {name: judged(pool, tensors, base, styled) for name, tensors in drawn.items()}
    lines, report["table"], well = table_of(verdicts)
    latent_lines, report["latents"] = latents_of(cpu, drawn, compared)
    report["seconds"]["all"] = args.budget - (deadline - time.monotonic())
    report["well"] = well
    text = "\n".join([*lines, "", *latent_lines, "", f"Within {POINTS:g} point of f32: {'yes' if well else 'NO'}. {report['seconds']['all']:.0f} s."])
    print(text)
    (args.out / "fidelity.md").write_text(text + "\n")
    (args.out / "fidelity.json").write_text(json.dumps(report, indent=1) + "\n")
    return 0 if well else 1


if __name__ == "__main__":
    sys.exit(main())
