"""What a user of `fluxswap generate` and `fluxswap grid` waits for: whole processes by the clock, with the memory they take.

    python by_the_clock.py --program FLUXSWAP --model FOLDER --out FOLDER [--cases 0,3,...] [--steps N] [--runs N]

FOLDER has adapters as random_flux.py and random_dense.py write them. Each case runs N times (default 2, the first after whatever was
there before); the table has the last. Writes generate.json to --out, and prints tables.
"""

import argparse
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import time

CASES = {  # name: (adapter, further arguments)
    "no adapter": (None, []),
    "rank 32": ("all-r32", []),
    "rank 32, --merge": ("all-r32", ["--merge"]),
    "LoKr": ("lokr", []),
    "LoKr, not modulation": ("lokr-blocks", []),
    "LoKr, not modulation, bf16": ("lokr-blocks", ["--precision", "bf16"]),
    "DoRA rank 16, not modulation": ("dora-r16", []),
}
GIB = 2.0**30


def run(command):
    """The command's JSON, and seconds by the clock."""
    start = time.time()
    done = subprocess.run(command, capture_output=True, text=True)
    seconds = time.time() - start
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}: status {done.returncode}\n{done.stderr[-2000:]}")
    return json.loads(done.stdout), seconds


def lora(folder, name):
    return ["--lora", str(folder / "loras" / f"{name}.safetensors")] if name else []


def generate(options, name, folder):
    adapter, more = CASES[name]
    picture = folder / "picture.png"
    picture.unlink(missing_ok=True)
    found, seconds = run([options.program, "generate", "--model", str(options.model), "--prompt", "a lighthouse at dusk", "--seed", "5",
                          "--steps", str(options.steps), "--out", str(picture), "--json", *lora(options.model, adapter), *more])
    swap = found.get("swap", {})
    return {"case": name, "seconds": seconds, "stage": swap.get("stage_seconds", 0), "wait": swap.get("swap_seconds", 0),
            "denoise": found["timings"]["denoise_seconds"], "kept": found["adapter_memory"]["base_bytes"] / GIB,
            "host": found["peak_memory"]["process_bytes"] / GIB, "device": found["peak_memory"]["runtime_bytes"] / GIB,
            "picture": hashlib.md5(picture.read_bytes()).hexdigest()[:8]}


def grid(options, folder):
    """The wait for each adapter of a contact sheet, whose next one is staged while a picture runs."""
    sheet = folder / "sheet.png"
    adapters = [argument for name in ("lokr-blocks", "all-r32") for argument in lora(options.model, name)]
    found, seconds = run([options.program, "grid", "--model", str(options.model), "--prompt", "a", "--prompt", "b", "--seed", "5",
                          "--steps", str(options.steps), "--out", str(sheet), "--json", *adapters])
    return {"seconds": seconds, "images": [
        {"adapter": image["adapter"], "stage": image["swap"]["stage_seconds"], "wait": image["swap"]["swap_seconds"],
         "step": image["timings"]["seconds_per_step"]} for image in found["images"]]}


def table(rows):
    print("\n| `generate` | by the clock, s | staged in, s | wait, s | steps, s | main memory, GiB | of that kept, GiB | device, GiB |")
    print("|---|---|---|---|---|---|---|---|")
    for r in rows:
        print(f"| {r['case']} | {r['seconds']:.1f} | {r['stage']:.2f} | {r['wait']:.3f} | {r['denoise']:.2f} | {r['host']:.1f} | "
              f"{r['kept']:.1f} | {r['device']:.1f} |")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--cases", default=",".join(f"{i}" for i in range(len(CASES))), help="indices of cases (default all)")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--runs", type=int, default=2)
    options = parser.parse_args()
    rows, all_runs = [], []
    with tempfile.TemporaryDirectory() as folder:
        for index in options.cases.split(","):
            runs = [generate(options, list(CASES)[int(index)], pathlib.Path(folder)) for _ in range(options.runs)]
            if len({r["picture"] for r in runs}) > 1:
                raise SystemExit(f"{runs[0]['case']}: two runs gave two pictures")
            print(json.dumps(runs[-1]), file=sys.stderr, flush=True)
            rows.append(runs[-1])
            all_runs += runs
        table(rows)
        sheet = grid(options, pathlib.Path(folder))
    print(f"\n`grid`, two prompts, in {sheet['seconds']:.1f} s:")
    for image in sheet["images"]:
        print(f"  {image['adapter']}: staged in {image['stage']:.2f} s, wait {image['wait']:.3f} s, {image['step']:.3f} s a step")
    options.out.mkdir(parents=True, exist_ok=True)
    (options.out / "generate.json").write_text(json.dumps({"runs": all_runs, "grid": sheet}, indent=1))


if __name__ == "__main__":
    main()
