"""Draws the held-out prompts with fluxswap itself, for judge.py: DIR/0000.png, 0001.png, ...

  python draw.py --fluxswap build/release/apps/cli/fluxswap --model MODEL_DIR --out DIR [--lora FILE] [[--t5 64]
"""
from __future__ import annotations

import argparse
import json
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fluxswap", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--prompts", type=Path, help="default: MODEL/prompts.json")
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--lora", type=Path)
    parser.add_argument("--every", type=int, default=1, help="only every so many prompts")
    parser.add_argument("--word", help="say this shape in place of the first one of every prompt (a trigger word)")
    parser.add_argument("--t5", type=int, default=64)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0, help="of the first prompt; the next has the next")
    parser.add_argument("--jobs", type=int, default=1)
    args = parser.parse_args()
    entries = json.loads((args.prompts or args.model / "prompts.json").read_text())[::args.every]
    args.out.mkdir(parents=True, exist_ok=True)

    def draw(job) -> None:
        index, entry = job
        prompt, first = entry["prompt"], entry["scene"]["objects"][0]["shape"]
        if args.word:
            prompt = prompt.replace(first, args.word, 1)
            entry["scene"]["objects"][0]["shape"] = args.word
        command = [args.fluxswap, "generate", "--model", args.model, "--prompt", prompt, "--seed", str(args.seed + index), "--steps", str(args.steps),
                   "--max-sequence-length", str(args.t5), "--out", args.out / f"{index:04d}.png"]
        subprocess.run([*map(str, command), *(["--lora", str(args.lora)] if args.lora else [])], check=True, stdout=subprocess.DEVNULL)

    with ThreadPoolExecutor(args.jobs) as pool:
        list(pool.map(draw, enumerate(entries)))
    (args.out / "prompts.json").write_text(json.dumps(entries))  # what judge.py compares with


if __name__ == "__main__":
    main()
