"""Random LoRA adapters for a diffusers folder of FLUX, as PEFT and diffusers write them. Library; `random_flux.py` runs it.

The update of each layer has STRENGTH of the norm of its weight, about what trained adapters have.
"""

import json
import math
import re

import torch
from safetensors.torch import save_file

from random_weights import gain_of
from tiny_models import build

STRENGTH = 0.02
BLOCK_LINEARS = r"blocks\.\d+\..*(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out|net\.0\.proj|net\.2|proj_mlp|proj_out|norm\d?(_context)?\.linear)$"
ATTENTION = r"blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)$"
ADAPTERS = {"all-r32": (BLOCK_LINEARS, 32), "attention-r16": (ATTENTION, 16)}  # file: (modules, rank)


def random_adapter(transformer, pattern, rank, seed, device):
    """Keys transformer.MODULE.lora_A.weight (rank, in) and lora_B.weight (out, rank), bf16; alpha is the rank."""
    generator = torch.Generator(device).manual_seed(seed)
    state = {}
    for name, module in transformer.named_modules():
        if not isinstance(module, torch.nn.Linear) or not re.search(pattern, name):
            continue
        down = torch.randn(rank, module.in_features, generator=generator, device=device) / math.sqrt(module.in_features)
        up = torch.randn(module.out_features, rank, generator=generator, device=device)
        up *= STRENGTH * gain_of("transformer", name + ".weight") / math.sqrt(rank)
        state[f"transformer.{name}.lora_A.weight"] = down.bfloat16().cpu()
        state[f"transformer.{name}.lora_B.weight"] = up.bfloat16().cpu()
    return state


def write_all(folder, seed, device):
    """FOLDER/loras/NAME.safetensors for every entry of ADAPTERS."""
    with torch.device("meta"):
        transformer = build("transformer", json.loads((folder / "transformer" / "config.json").read_text()))
    (folder / "loras").mkdir(exist_ok=True)
    for i, (name, (pattern, rank)) in enumerate(ADAPTERS.items()):
        state = random_adapter(transformer, pattern, rank, seed * 10 + i, device)
        file = folder / "loras" / f"{name}.safetensors"
        save_file(state, file, metadata={"format": "pt"})
        print(f"{file.name}: {len(state) // 2} layers, {file.stat().st_size / 1e6:.1f} MB", flush=True)
