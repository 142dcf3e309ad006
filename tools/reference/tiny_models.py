"""Writes complete diffusers folders of tiny random FLUX pipelines, scaled so that mistakes show.

With default initialisation a random FLUX model hardly reacts to anything: another prompt moves the latents by 1e-3 and the wrong
GELU by 5e-6. So the weights here are larger where information enters and leaves (modulation, embedders, output), attention is
made sharp, and norm gains, biases and position biases are random. `planted.py` measures that this is enough.

Runs alone: `python tiny_models.py [--out ../../tests/data/golden] [--only tiny-dev]` writes OUT/<config>/model/.
"""

import argparse
import math
import pathlib
import re
import shutil

import torch
from safetensors.torch import save_file

import tiny_tokenizers
from tiny_configs import MODEL_INDEX, TINY
from tiny_tokenizers import write_json

GOLDEN = pathlib.Path(__file__).resolve().parents[2] / "tests" / "data" / "golden"

# (pattern of the parameter name, gain): the first match wins; a linear weight gets standard deviation gain / sqrt(inputs).
# torch's default initialisation is gain 0.58, so 3.5 is six times and 1.75 three times the default.
GAINS = {
    "transformer": [
        (r"norm1(_context)?\.linear|\.norm\.linear|norm_out\.linear", 3.5),
        (r"^(x_embedder|context_embedder|time_text_embed)", 1.75),
        (r"^proj_out", 1.75),
        (r".", 1.0),
    ],
    "text_encoder": [(r"[qk]_proj", 1.8), (r"fc1", 2.0), (r".", 1.0)],
    "text_encoder_2": [(r"wi_0", 2.0), (r".", 1.0)],
    "vae": [(r"attentions\.\d\.to_[qkv]", 1.5), (r"decoder\.conv_out", 0.6), (r".", 1.2)],
}
BIAS = 0.25

# The tanh and the erf form of GELU differ by at most 5e-4, far less than what an MLP of ordinary scale shows. Where the
# argument is about -2.4, GELU itself is only -0.02: there the difference is 2 %. So every second hidden unit of an MLP sits
# there (small input weights, negative bias) and its output column is enlarged to make up for the small value.
DIM_BIAS = -2.4
DIM = {"transformer": (0.05, 90.0), "text_encoder": (0.3, 5.0)}  # gains of the input rows and output columns; modulation is large
MLPS = {  # (first linear, second linear, columns of the second before the hidden units)
    "transformer": [(r"(.*\.ff)\.net\.0\.proj", r"{0}.net.2", 0), (r"(.*\.ff_context)\.net\.0\.proj", r"{0}.net.2", 0),
                    (r"(single_transformer_blocks\.\d+)\.proj_mlp", r"{0}.proj_out", None)],
    "text_encoder": [(r"(.*\.mlp)\.fc1", r"{0}.fc2", 0)],
}


def random_state(component, module, seed):
    """A seeded value for every parameter, in name order: independent of how the library initialises."""
    generator = torch.Generator().manual_seed(seed)
    state = {}
    for name, parameter in sorted(module.state_dict().items()):
        shape = parameter.shape
        normal = torch.randn(shape, generator=generator, dtype=torch.float32)
        uniform = torch.rand(shape, generator=generator, dtype=torch.float32)
        if re.search(r"norm_(added_)?[qk]\.weight$", name):
            value = 0.8 + 1.2 * uniform  # sharp attention: gains above one on both sides
        elif "relative_attention_bias" in name:
            value = 2.0 * normal
        elif re.search(r"(token_embedding|shared|embed_tokens)\.weight$", name):
            value = normal
        elif "position_embedding" in name:
            value = 0.5 * normal
        elif len(shape) == 1 and name.endswith("weight"):
            value = 0.5 + uniform
        elif len(shape) == 1:
            value = BIAS * normal
        else:
            gain = next(gain for pattern, gain in GAINS[component] if re.search(pattern, name))
            value = normal * (gain / math.sqrt(math.prod(shape[1:])))
        state[name] = value
    show_gelu(component, state)
    return state


def show_gelu(component, state):
    """Moves every second hidden unit of the MLPs to where the forms of GELU differ most; see DIM_BIAS."""
    for name in list(state):
        for first, second, columns in MLPS.get(component, ()):
            match = re.fullmatch(first + r"\.weight", name)
            if match:
                start = state[name].shape[1] if columns is None else columns  # [attention, mlp] in a single block
                state[name][::2] *= DIM[component][0]
                state[name.removesuffix("weight") + "bias"][::2] += DIM_BIAS
                state[second.format(match.group(1)) + ".weight"][:, start::2] *= DIM[component][1]


def build(component, config):
    """An uninitialised module of the library that reads this config."""
    if component == "transformer":
        from diffusers import FluxTransformer2DModel
        return FluxTransformer2DModel.from_config(config)
    if component == "vae":
        from diffusers import AutoencoderKL
        return AutoencoderKL.from_config(config)
    from transformers import CLIPTextConfig, CLIPTextModel, T5Config, T5EncoderModel
    if component == "text_encoder":
        return CLIPTextModel(CLIPTextConfig(**config))
    return T5EncoderModel(T5Config(**config))


def file_state(component, spec, state):
    """The tensors under the names and with the extras that published files have."""
    state = {name: value.to(spec["dtype"]).contiguous() for name, value in state.items()}
    if component == "text_encoder":
        state = {spec["clip_prefix"] + name.removeprefix("text_model."): value for name, value in state.items()}
        if spec["clip_position_ids"]:
            rows = spec["text_encoder"]["max_position_embeddings"]
            state[spec["clip_prefix"] + "embeddings.position_ids"] = torch.arange(rows).unsqueeze(0)
    if component == "text_encoder_2":
        shared = state.pop("encoder.embed_tokens.weight", None)
        state["shared.weight"] = state.get("shared.weight", shared)
        if spec["t5_tied_copy"]:
            state["encoder.embed_tokens.weight"] = state["shared.weight"].clone()
    return state


def write_weights(folder, stem, state, shards):
    """One file, or `shards` files of about equal size and the index that names them."""
    if shards == 1:
        save_file(state, folder / f"{stem}.safetensors", metadata={"format": "pt"})
        return
    total = sum(value.nbytes for value in state.values())
    parts, used = [{} for _ in range(shards)], 0
    for name, value in sorted(state.items()):
        parts[min(shards - 1, used * shards // total)][name] = value
        used += value.nbytes
    weight_map = {}
    for i, part in enumerate(parts):
        file = f"{stem}-{i + 1:05d}-of-{shards:05d}.safetensors"
        save_file(part, folder / file, metadata={"format": "pt"})
        weight_map.update({name: file for name in part})
    write_json(folder / f"{stem}.safetensors.index.json",
               {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))})


def write_pipeline(folder, spec):
    """A whole diffusers folder from one entry of `tiny_configs.TINY` (or one of the same form)."""
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    write_json(folder / "model_index.json", MODEL_INDEX)
    (folder / "scheduler").mkdir()
    write_json(folder / "scheduler" / "scheduler_config.json", spec["scheduler"])
    tiny_tokenizers.write_clip(folder / "tokenizer", spec["clip_length"])
    tiny_tokenizers.write_t5(folder / "tokenizer_2", spec["t5_files"])
    stems = {"transformer": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model",
             "text_encoder_2": "model"}
    for offset, (component, stem) in enumerate(stems.items()):
        target = folder / component
        target.mkdir()
        write_json(target / "config.json", spec[component])
        state = random_state(component, build(component, spec[component]), spec["seed"] * 100 + offset)
        shards = spec["shards"] if component in ("transformer", "text_encoder_2") else 1
        write_weights(target, stem, file_state(component, spec, state), shards)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, default=GOLDEN)
    parser.add_argument("--only", choices=sorted(TINY), help="one configuration instead of all")
    arguments = parser.parse_args()
    for name in [arguments.only] if arguments.only else TINY:
        folder = arguments.out / name / "model"
        write_pipeline(folder, TINY[name])
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        print(f"{name}: {size / 1e6:.2f} MB in {folder}")


if __name__ == "__main__":
    main()
