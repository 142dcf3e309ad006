"""Runs one case of any diffusers FLUX folder in float32 and writes what golden.py writes: for models that are not tiny.

Runs alone: `python run_case.py --model models/demo --prompt "a red star" --width 256 --height 256 --steps 4 --out case.safetensors
[--lora FILE:SCALE]... [--taps] [--no-image]`. Adapters are merged in float64; see adapters.py.
"""

import argparse
import pathlib

import torch

import adapters
import reference
from stable_files import save_stable


def adapter(text):
    """FILE or FILE:SCALE, as on fluxswap's command line."""
    file, _, scale = text.rpartition(":")
    return (pathlib.Path(file), float(scale)) if file else (pathlib.Path(text), 1.0)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--prompt", required=True)
    parser.add_argument("--width", type=int, required=True)
    parser.add_argument("--height", type=int, required=True)
    parser.add_argument("--steps", type=int, default=4)
    parser.add_argument("--guidance", type=float, default=3.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-sequence-length", type=int, default=512)
    parser.add_argument("--lora", type=adapter, action="append", default=[])
    parser.add_argument("--taps", action="store_true", help="also the intermediate tensors of the first step and the VAE")
    parser.add_argument("--no-image", action="store_true", help="leave the decoded image out: smaller")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    return parser.parse_args()


def main():
    arguments = parse()
    case = {key: getattr(arguments, key) for key in ("prompt", "width", "height", "steps", "guidance", "seed",
                                                     "max_sequence_length")}
    torch.set_num_threads(1)
    pipe = adapters.merged(reference.load(arguments.model), arguments.lora)
    prompt_embeds, pooled = reference.encode(pipe, case)
    with reference.tapped(pipe) as taps:
        latents = reference.sample(pipe, case)
        image = None if arguments.no_image else reference.decode(pipe, latents, case)
    tensors = {"noise": reference.initial_noise(pipe, case), "latents": latents, "prompt_embeds": prompt_embeds,
               "pooled_prompt_embeds": pooled, "sigmas": pipe.scheduler.sigmas.float()}
    tensors |= {"image": image} if image is not None else {}
    tensors |= taps.values if arguments.taps else {}
    strings = {key: str(value) for key, value in case.items()}
    strings |= {"base": "", "adapters": ";".join(f"{file.name}:{scale}" for file, scale in arguments.lora)}
    save_stable({name: value.contiguous() for name, value in tensors.items()}, arguments.out, strings)


if __name__ == "__main__":
    main()
