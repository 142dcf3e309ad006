"""Writes the mid-size random FLUX pipeline of the CPU benchmarks: hidden 768 = 6 heads x 128, 3 double and 6 single blocks.

At 512x512 it has 1024 image tokens. About 120 M parameters in the transformer; nothing of it is committed.
Runs alone: `python mid_model.py --out FOLDER [--dtype bfloat16]`.
"""

import argparse
import pathlib

import torch

from tiny_configs import clip_config, scheduler_config, t5_config, transformer_config, vae_config
from tiny_models import write_pipeline

MID = {
    "seed": 44,
    "transformer": transformer_config(6, 128, (16, 56, 56), 3, 6, 64, 512, 256, True),
    "text_encoder": clip_config(256, 4, 4),
    "text_encoder_2": t5_config(512, 8, 64, 1024, 4),
    "vae": vae_config((32, 64, 128, 128), 16, 2, 16, sample_size=512),
    "scheduler": scheduler_config(True, 3.0),
    "shards": 1, "clip_prefix": "text_model.", "clip_position_ids": False, "t5_tied_copy": False,
    "t5_files": ("tokenizer.json", "spiece.model"), "clip_length": 77,
}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--dtype", choices=("float32", "bfloat16", "float16"), default="bfloat16",
                        help="storage type of the files; FLUX.1 is published in bfloat16")
    arguments = parser.parse_args()
    if arguments.out.exists() and not (arguments.out / "model_index.json").exists():
        raise SystemExit(f"{arguments.out} exists and is not a diffusers folder: it is not overwritten")
    write_pipeline(arguments.out, {**MID, "dtype": getattr(torch, arguments.dtype)})
    size = sum(file.stat().st_size for file in arguments.out.rglob("*") if file.is_file())
    print(f"{arguments.out}: {size / 1e6:.0f} MB")


if __name__ == "__main__":
    main()
