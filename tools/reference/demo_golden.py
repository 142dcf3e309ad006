"""Golden cases of the demo model: one picture without adapters with all taps, and one for each adapter.

Runs alone: `python demo_golden.py [--model ../../models/demo] [--out ../../tests/data/golden/demo]`. What an adapter's case shares
with the base case (noise; embeddings, if the adapter leaves the text encoders alone) is not stored twice.
"""

import argparse
import pathlib

import torch

import adapters
import reference
from stable_files import save_stable

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASE = {"prompt": "a small red star left of a large blue circle on a yellow background", "width": 96, "height": 128,
        "steps": 3, "guidance": 3.5, "seed": 5, "max_sequence_length": 32}


def run(folder, applied, taps):
    pipe = adapters.merged(reference.load(folder), applied)
    prompt_embeds, pooled = reference.encode(pipe, CASE)
    with reference.tapped(pipe) as tapped:
        latents = reference.sample(pipe, CASE)
    tensors = {"noise": reference.initial_noise(pipe, CASE), "latents": latents, "prompt_embeds": prompt_embeds,
               "pooled_prompt_embeds": pooled}
    wanted = ("vec", "double_blocks.0.img", "double_blocks.0.txt", "final_layer")
    return tensors | ({name: tapped.values[name] for name in wanted} if taps else {})


def write(path, tensors, applied):
    strings = {key: str(value) for key, value in CASE.items()}
    strings |= {"base": "base" if applied else "", "adapters": ";".join(f"loras/{file.name}:{scale}" for file, scale in applied)}
    save_stable({name: value.contiguous() for name, value in tensors.items()}, path, strings)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, default=ROOT / "models/demo")
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "tests/data/golden/demo")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    arguments.out.mkdir(parents=True, exist_ok=True)
    base = run(arguments.model, [], taps=True)
    write(arguments.out / "base.safetensors", base, [])
    for file in sorted((arguments.model / "loras").glob("*.safetensors")):
        applied = [(file, 1.0)]
        case = run(arguments.model, applied, taps=False)
        stored = {name: value for name, value in case.items()
                  if name in ("latents", "noise") or not torch.equal(value, base[name])}
        write(arguments.out / f"lora-{file.stem}.safetensors", stored, applied)


if __name__ == "__main__":
    main()
