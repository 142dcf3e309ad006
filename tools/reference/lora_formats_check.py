"""What diffusers and PEFT make of the files of lora_formats.py, where they read the format and are right."""

import json

import numpy as np
import torch
from diffusers import FluxTransformer2DModel
from diffusers.loaders import FluxLoraLoaderMixin
from peft.tuners.tuners_utils import BaseTunerLayer

from lora_formats_names import MODULES, diffusers_parts, rows

# Others are known to be wrong for these files, or have the real model's sizes built in (DESIGN.md, tests).
CONFIRMED = {"diffusers-alpha", "diffusers-no-alpha", "diffusers-old", "diffusers-metadata", "dora-peft", "rslora"}
TOLERANCE = 1e-6


def tiny_model(base):
    model = FluxTransformer2DModel(patch_size=1, in_channels=8, num_layers=2, num_single_layers=2, attention_head_dim=8,
                                   num_attention_heads=2, joint_attention_dim=12, pooled_projection_dim=10,
                                   guidance_embeds=True, axes_dims_rope=(2, 2, 4))
    modules = dict(model.named_modules())
    for name in MODULES:
        if name + ".weight" not in base:
            continue
        for part in diffusers_parts(name):
            begin, count = rows(name, part.part)
            weight = base[name + ".weight"][begin:begin + count]
            if part.exchange:
                weight = np.roll(weight, count // 2, axis=0)
            modules[part.diffusers].weight.data = torch.tensor(weight)
    return model


def merged_deltas(model):
    """diffusers module -> W' - W in float64."""
    model.to(torch.float64)
    deltas = {}
    for name, module in model.named_modules():
        if isinstance(module, BaseTunerLayer):
            before = module.get_base_layer().weight.detach().clone()
            module.merge()
            deltas[name] = (module.get_base_layer().weight.detach() - before).numpy()
    return deltas


def confirm(name, state, expected, metadata, base):
    """Compares, and says who confirmed: "diffusers", or "numpy" where nobody else can."""
    if name not in CONFIRMED:
        return "numpy"
    torch.manual_seed(0)
    model = tiny_model(base)
    tensors = {k: torch.tensor(np.asarray(v)) for k, v in state.items() if not k.endswith(".alpha")}
    alphas = {k: float(v) for k, v in state.items() if k.endswith(".alpha")}
    text = (metadata or {}).get("lora_adapter_metadata")
    config = json.loads(text) if text else None
    if config:  # which the files leave out: it follows from the tensors
        modules = {k.removeprefix("transformer.").split(".lora_")[0] for k in tensors}
        config["transformer.target_modules"] = sorted(modules)
    FluxLoraLoaderMixin.load_lora_into_transformer(tensors, alphas or None, model, adapter_name="a", metadata=config)
    deltas = merged_deltas(model)
    for parameter, wanted in expected.items():
        module = parameter.removesuffix(".weight")
        found = np.zeros_like(wanted)
        for part in diffusers_parts(module):
            begin, count = rows(module, part.part)
            delta = deltas.pop(part.diffusers, np.zeros((count, wanted.shape[1])))
            found[begin:begin + count] = np.roll(delta, count // 2, axis=0) if part.exchange else delta
        error = np.abs(found - wanted).max() / np.abs(wanted).max()
        assert error < TOLERANCE, f"{name}: {parameter}: diffusers differs by {error}"
    assert not any(np.abs(d).max() > 0 for d in deltas.values()), f"{name}: diffusers changes more: {list(deltas)}"
    return "diffusers"
