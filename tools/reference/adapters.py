"""Random LoRA adapters for the tiny models, written in the PEFT/diffusers format, and the merge that defines their meaning.

W' = W + sum over adapters of scale * (alpha / rank) * B @ A, computed in float64 and rounded once to float32.

Runs alone: `python adapters.py [--only tiny-dev]` writes <config>/loras/*.safetensors beside the tiny models.
"""

import argparse
import copy
import math
import re

import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import reference
from stable_files import sort_metadata
from tiny_configs import TINY
from tiny_models import GOLDEN

COMPONENTS = ("transformer", "text_encoder", "text_encoder_2")
ATTENTION = r"blocks\.\d+\.attn\.(to_[qkv]|to_out\.0|add_[qkv]_proj|to_add_out)$"
SINGLE = r"^single_transformer_blocks\.\d+\.(attn\.to_[qkv]|proj_mlp|proj_out)$"
CLIP_LINEARS = r"(self_attn\.(q|k|v|out)_proj|mlp\.fc[12])$"
T5_LINEARS = r"(SelfAttention\.[qkvo]|DenseReluDense\.(wi_0|wi_1|wo))$"
STRENGTH = 0.45  # the update's size beside a weight of unit gain

# name -> {component: (module pattern, ranks in turn, alphas in turn or None)}; alphas in turn are factors of the rank.
RANKS, FACTORS = (3, 1, 6, 2, 4), (0.5, 2.0, 1.0, 0.25, 1.75, -1.0)
KINDS = {
    "attention": {"transformer": (ATTENTION, (4,), None)},
    "all-linears": {"transformer": (r".", RANKS, FACTORS)},
    "single": {"transformer": (SINGLE, (5,), None)},
    "clip": {"transformer": (ATTENTION, (2,), None), "text_encoder": (CLIP_LINEARS, (3,), None)},
    "t5": {"text_encoder_2": (T5_LINEARS, (2, 3), (2.0, 0.5))},
    "text": {"text_encoder": (CLIP_LINEARS, (1, 4), (0.5, 3.0)), "text_encoder_2": (T5_LINEARS, (3, 2), (0.5, 1.5)),
             "transformer": (ATTENTION, (1, 2), (2.0, 0.5))},
    "metadata": {"transformer": (ATTENTION, (4,), None)},
}
PLAN = {
    "tiny-dev": {"attention", "all-linears", "single", "clip", "t5", "metadata"},
    "tiny-schnell": {"attention", "all-linears"},
    "tiny-odd": {"attention", "all-linears", "text"},
}


def linears(module):
    return {name: part for name, part in module.named_modules() if isinstance(part, torch.nn.Linear)}


def file_module(component, name):
    """CLIP modules keep the `text_model.` of published adapters, whatever the library calls them today."""
    return "text_model." + name.removeprefix("text_model.") if component == "text_encoder" else name


def random_adapter(pipe, kind, seed, dtype):
    """Tensors of one adapter file: `<component>.<module>.lora_A.weight` (r, in), `.lora_B.weight` (out, r), `.alpha` ()."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for component, (pattern, ranks, factors) in KINDS[kind].items():
        found = [(n, m) for n, m in sorted(linears(getattr(pipe, component)).items()) if re.search(pattern, n)]
        for i, (name, module) in enumerate(found):
            rank = min(ranks[i % len(ranks)], module.in_features, module.out_features)
            factor = factors[i % len(factors)] if factors else 1.0
            size = STRENGTH / math.sqrt(rank) / math.sqrt(abs(factor))
            down = torch.randn(rank, module.in_features, generator=generator) / math.sqrt(module.in_features)
            up = torch.randn(module.out_features, rank, generator=generator) * size
            prefix = f"{component}.{file_module(component, name)}"
            state[f"{prefix}.lora_A.weight"] = down.to(dtype)
            state[f"{prefix}.lora_B.weight"] = up.to(dtype)
            if factors:
                state[f"{prefix}.alpha"] = torch.tensor(factor * rank, dtype=dtype)
    return state


def write_adapter(pipe, kind, state, file):
    """Plain kinds go through diffusers' own writer, so that the file is what it writes; it cannot write alphas or T5."""
    if any(key.endswith(".alpha") for key in state):
        save_file(state, file, metadata={"format": "pt"})
        return
    parts = {c: {k.removeprefix(c + "."): v for k, v in state.items() if k.startswith(c + ".")} for c in COMPONENTS}
    pipe.save_lora_weights(file.parent, weight_name=file.name, transformer_lora_layers=parts["transformer"] or None,
                           text_encoder_lora_layers=parts["text_encoder"] or None,
                           transformer_lora_adapter_metadata=adapter_metadata() if kind == "metadata" else None)
    sort_metadata(file)
    assert set(load_file(file)) == set(state)


def adapter_metadata():
    """What PEFT's LoraConfig puts into a file's header: here the strength is only in the header, not in the tensors."""
    from peft import LoraConfig
    config = LoraConfig(r=4, lora_alpha=6, alpha_pattern={r"^transformer_blocks.0.attn.to_q": 2, "to_add_out": 12},
                        target_modules=["to_q", "to_k", "to_v", "to_out.0", "add_q_proj", "add_k_proj", "add_v_proj",
                                        "to_add_out"])
    values = {key: value for key, value in config.to_dict().items() if value is not None}
    return {key: sorted(value) if isinstance(value, (set, frozenset)) else value for key, value in values.items()}


def metadata_alpha(component, module, rank, metadata):
    """alpha from the header (PEFT: a pattern matches the end of the module path), or the rank where there is none."""
    import json
    if not metadata or "lora_adapter_metadata" not in metadata:
        return rank
    values = json.loads(metadata["lora_adapter_metadata"])
    for pattern, alpha in (values.get(f"{component}.alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({pattern})$", module):
            return alpha
    return values.get(f"{component}.lora_alpha", rank)


def patches(file):
    """(component, module, B @ A * alpha / rank in float64) for every module of an adapter file."""
    state = load_file(file)
    with safe_open(file, "pt") as opened:
        metadata = opened.metadata()
    for key in sorted(state):
        if not key.endswith(".lora_A.weight"):
            continue
        path = key.removesuffix(".lora_A.weight")
        component, module = path.split(".", 1)
        down, up = state[key].double(), state[f"{path}.lora_B.weight"].double()
        rank = down.shape[0]
        alpha = state.get(f"{path}.alpha")
        alpha = metadata_alpha(component, module, rank, metadata) if alpha is None else float(alpha)
        yield component, module, up @ down * (alpha / rank)


def merged(pipe, files_and_scales):
    """A copy of the pipeline with adapters added to its weights. Components that no adapter touches are shared."""
    updates = {}
    for file, scale in files_and_scales:
        for component, module, update in patches(file):
            key = (component, module.removeprefix("text_model.") if component == "text_encoder" else module)
            updates[key] = updates.get(key, 0) + scale * update
    parts = {name: part for name, part in pipe.components.items() if part is not None}
    for component in {component for component, _ in updates}:
        parts[component] = copy.deepcopy(parts[component])
    for (component, module), update in updates.items():
        weight = parts[component].get_submodule(module).weight
        weight.data = (weight.data.double() + update).to(weight.dtype)
    result = type(pipe)(**parts)
    result.set_progress_bar_config(disable=True)
    return result


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(TINY))
    arguments = parser.parse_args()
    for config in [arguments.only] if arguments.only else TINY:
        pipe = reference.load(GOLDEN / config / "model")
        folder = GOLDEN / config / "loras"
        folder.mkdir(exist_ok=True)
        for i, kind in enumerate(sorted(PLAN[config])):
            file = folder / f"{kind}.safetensors"
            write_adapter(pipe, kind, random_adapter(pipe, kind, TINY[config]["seed"] * 10 + i, TINY[config]["dtype"]), file)
            print(f"{config}/{kind}: {file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
