"""Random adapters that are not low-rank, for a diffusers folder of FLUX: LoKr as LyCORIS writes it, DoRA as PEFT does.

    python random_dense.py FOLDER      writes FOLDER/loras/{lokr,lokr-blocks,dora-r16}.safetensors

`lokr` is on all linear layers of the blocks, `lokr-blocks` and `dora-r16` on all but modulation. As strong as those of random_adapters.py.
"""

import argparse
import json
import math
import pathlib
import re

import torch
from safetensors.torch import save_file

from random_adapters import BLOCK_LINEARS, STRENGTH, random_adapter
from random_weights import gain_of
from tiny_models import build

FACTOR = 16  # of w1: (FACTOR, FACTOR)
WITHOUT_MODULATION = BLOCK_LINEARS.replace(r"|norm\d?(_context)?\.linear", "")


def layers(transformer, pattern):
    for name, module in transformer.named_modules():
        if isinstance(module, torch.nn.Linear) and re.search(pattern, name):
            yield name, module, gain_of("transformer", name + ".weight")


def lokr(transformer, pattern, seed, device):
    """w1 (f, f) and w2 (out / f, in / f); a layer's difference is their Kronecker product."""
    generator = torch.Generator(device).manual_seed(seed)
    state = {}
    for name, module, gain in layers(transformer, pattern):
        w1 = torch.randn(FACTOR, FACTOR, generator=generator, device=device) * STRENGTH * gain
        w2 = torch.randn(module.out_features // FACTOR, module.in_features // FACTOR, generator=generator, device=device)
        state[f"transformer.{name}.lokr_w1"] = w1.bfloat16().cpu()
        state[f"transformer.{name}.lokr_w2"] = (w2 / math.sqrt(module.in_features)).bfloat16().cpu()
    return state


def dora(transformer, pattern, rank, seed, device):
    """A low-rank adapter with magnitudes (out) near the rows' own lengths, which for random weights are about their gain."""
    state = random_adapter(transformer, pattern, rank, seed, device)
    generator = torch.Generator(device).manual_seed(seed)
    for name, module, gain in layers(transformer, pattern):
        lengths = gain * (1 + STRENGTH * torch.randn(module.out_features, generator=generator, device=device))
        state[f"transformer.{name}.lora_magnitude_vector"] = lengths.bfloat16().cpu()
    return state


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=pathlib.Path, help="model folder in diffusers layout")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to draw (default: a GPU if there)")
    arguments = parser.parse_args()
    with torch.device("meta"):
        transformer = build("transformer", json.loads((arguments.folder / "transformer" / "config.json").read_text()))
    (arguments.folder / "loras").mkdir(exist_ok=True)
    for name, state in (("lokr", lokr(transformer, BLOCK_LINEARS, arguments.seed, arguments.device)),
                        ("lokr-blocks", lokr(transformer, WITHOUT_MODULATION, arguments.seed, arguments.device)),
                        ("dora-r16", dora(transformer, WITHOUT_MODULATION, 16, arguments.seed, arguments.device))):
        file = arguments.folder / "loras" / f"{name}.safetensors"
        save_file(state, file, metadata={"format": "pt"})
        print(f"{file.name}: {len(state)} tensors, {file.stat().st_size / 1e6:.1f} MB", flush=True)


if __name__ == "__main__":
    main()
