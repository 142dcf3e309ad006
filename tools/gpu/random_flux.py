"""Writes a complete diffusers folder of FLUX.1 [dev]'s shape with random bf16 weights, and adapters for it. 25 GB in well under a minute.

The text encoders are small, with the widths that the transformer expects and the demo model's tokenizers, because comparisons
give embeddings, not prompts; `--text-encoders` writes T5-XXL and CLIP-L in full (10 GB more).

    python random_flux.py --out FOLDER                     on a GPU
    python random_flux.py --out FOLDER --text-encoders --beside OTHER   only T5-XXL and CLIP-L; the rest are links to OTHER's
    python random_flux.py --out FOLDER --shape tiny        2 + 2 narrow blocks, on a CPU
    python random_flux.py --out FOLDER --shape deep        19 + 38 narrow blocks: what full depth does to rounding
"""

import argparse
import json
import pathlib
import shutil
import time

import torch

import random_adapters
from random_weights import write_component
from tiny_configs import MODEL_INDEX, clip_config, scheduler_config, t5_config, transformer_config, vae_config
from tiny_models import build

ROOT = pathlib.Path(__file__).resolve().parents[2]
STEMS = {"transformer": "diffusion_pytorch_model", "vae": "diffusion_pytorch_model", "text_encoder": "model", "text_encoder_2": "model"}
NARROW_VAE = vae_config((8, 16, 16, 16), 16, 1, 4)
SHAPES = {
    "flux-dev": {"transformer": transformer_config(24, 128, (16, 56, 56), 19, 38, 64, 4096, 768, True),
                 "vae": vae_config((128, 256, 512, 512), 16, 2, 32, sample_size=1024), "shards": 8},
    "deep": {"transformer": transformer_config(4, 64, (8, 28, 28), 19, 38, 64, 64, 48, True), "vae": NARROW_VAE, "shards": 2},
    "tiny": {"transformer": transformer_config(3, 32, (8, 12, 12), 2, 2, 64, 64, 48, True), "vae": NARROW_VAE, "shards": 2},
}


def tokenizer_folders(source):
    """The two tokenizers of a diffusers folder, or of a folder with `clip` and `t5`."""
    for clip, t5 in (("tokenizer", "tokenizer_2"), ("clip", "t5")):
        if (source / clip).is_dir() and (source / t5).is_dir():
            return source / clip, source / t5
    raise SystemExit(f"{source}: expected folders tokenizer and tokenizer_2, or clip and t5")


def vocabulary_sizes(clip, t5):
    """Rows that the embeddings need; T5's is padded as the published one."""
    clip_ids = json.loads((clip / "vocab.json").read_text()).values()
    model = json.loads((t5 / "tokenizer.json").read_text())
    t5_ids = [len(model["model"]["vocab"]) - 1] + [token["id"] for token in model.get("added_tokens", [])]
    return max(clip_ids) + 1, -(-(max(t5_ids) + 1) // 128) * 128


def configs_of(shape, clip, t5, full_encoders):
    spec = SHAPES[shape]
    text, pooled = spec["transformer"]["joint_attention_dim"], spec["transformer"]["pooled_projection_dim"]
    clip_rows, t5_rows = vocabulary_sizes(clip, t5)
    if full_encoders:
        encoders = {"text_encoder": clip_config(pooled, 12, 12), "text_encoder_2": t5_config(text, 64, 64, 10240, 24)}
    else:
        encoders = {"text_encoder": clip_config(pooled, 4, 1), "text_encoder_2": t5_config(text, 4, 16, 256, 1)}
    encoders["text_encoder"] |= {"vocab_size": clip_rows, "bos_token_id": clip_rows - 2, "eos_token_id": clip_rows - 1,
                                 "pad_token_id": clip_rows - 1}
    encoders["text_encoder_2"]["vocab_size"] = t5_rows
    return {"transformer": spec["transformer"], "vae": spec["vae"], **encoders}


def shapes_of(component, config):
    """Names and shapes as in published files, without allocating anything."""
    with torch.device("meta"):
        module = build(component, config)
    shapes = {name: tuple(value.shape) for name, value in module.state_dict().items()}
    if component == "text_encoder":
        shapes = {"text_model." + name.removeprefix("text_model."): shape for name, shape in shapes.items()}
    if component == "text_encoder_2":
        shapes.pop("encoder.embed_tokens.weight", None)  # tied to shared.weight, which published files have
    return shapes


def write_folder(folder, shape, seed, device, tokenizers, full_encoders, beside=None):
    if folder.exists():
        if not (folder / "model_index.json").exists():
            raise SystemExit(f"{folder} exists and is not a diffusers folder: it is not overwritten")
        shutil.rmtree(folder)
    (folder / "scheduler").mkdir(parents=True)
    clip, t5 = tokenizer_folders(tokenizers)
    shutil.copytree(clip, folder / "tokenizer")
    shutil.copytree(t5, folder / "tokenizer_2")
    (folder / "model_index.json").write_text(json.dumps(MODEL_INDEX, indent=1))
    (folder / "scheduler" / "scheduler_config.json").write_text(json.dumps(scheduler_config(True, 3.0), indent=1))
    for offset, (component, config) in enumerate(configs_of(shape, clip, t5, full_encoders).items()):
        start = time.time()
        target = folder / component
        if beside and not component.startswith("text_encoder"):
            target.symlink_to((beside / component).resolve())
            continue
        target.mkdir()
        (target / "config.json").write_text(json.dumps(config, indent=1))
        large = component == "transformer" or (component == "text_encoder_2" and full_encoders)
        size = write_component(target, STEMS[component], component, shapes_of(component, config), seed * 100 + offset, device,
                               SHAPES[shape]["shards"] if large else 1)
        print(f"{component}: {size / 1e9:.3f} GB in {time.time() - start:.1f} s", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True, help="folder to write; adapters go to OUT/loras")
    parser.add_argument("--shape", choices=SHAPES, default="flux-dev", help="size of the networks (default flux-dev)")
    parser.add_argument("--tiny", dest="shape", action="store_const", const="tiny", help="the same as --shape tiny")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu", help="where to draw (default: a GPU if there)")
    parser.add_argument("--text-encoders", action="store_true", help="T5-XXL and CLIP-L in full instead of small ones")
    parser.add_argument("--beside", type=pathlib.Path, metavar="OTHER", help="link transformer and VAE of this folder, and write the rest")
    parser.add_argument("--tokenizers", type=pathlib.Path, default=ROOT / "models" / "demo",
                        help="folder with tokenizer and tokenizer_2, or clip and t5, to copy (default models/demo)")
    arguments = parser.parse_args()
    start = time.time()
    write_folder(arguments.out, arguments.shape, arguments.seed, arguments.device, arguments.tokenizers, arguments.text_encoders,
                 arguments.beside)
    random_adapters.write_all(arguments.out, arguments.seed, arguments.device)
    print(f"{arguments.out}: complete after {time.time() - start:.1f} s", flush=True)


if __name__ == "__main__":
    main()
