"""Writes tests/data/sigmas.json: the sigmas of diffusers' FluxPipeline for 1 to 50 steps, several sizes and configs.

usage: python tools/reference/sigmas_ref.py [OUT.json]

Per case, "sigmas" is the hexadecimal text of big-endian f32 values: those for min_steps, then for min_steps + 1,
... up to 50 steps, each with the final 0. "timesteps" are those of 4 steps.
"""
import json
import pathlib
import sys

import diffusers
import numpy as np
from diffusers import FlowMatchEulerDiscreteScheduler
from diffusers.pipelines.flux.pipeline_flux import calculate_shift

MAX_STEPS = 50
SIZES = [(16, 16), (256, 256), (384, 640), (512, 512), (768, 768), (1024, 1024), (768, 1344), (1024, 1536),
         (1920, 1088), (2048, 2048)]
DYNAMIC = {"shift": 3.0, "use_dynamic_shifting": True, "base_shift": 0.5, "max_shift": 1.15, "base_image_seq_len": 256,
           "max_image_seq_len": 4096}
# name -> (config, sizes, fewest steps)
CONFIGS = {
    "dev": (DYNAMIC, SIZES, 1),
    "schnell": ({**DYNAMIC, "shift": 1.0, "use_dynamic_shifting": False}, SIZES[:1], 1),
    "static shift": ({"shift": 3.0}, SIZES[:1], 1),
    "defaults": ({}, SIZES[:1], 1),
    "linear": ({**DYNAMIC, "time_shift_type": "linear"}, SIZES[3:6], 1),
    "terminal": ({**DYNAMIC, "shift_terminal": 0.1}, SIZES[3:6], 2),
    "other ends": ({**DYNAMIC, "base_shift": 0.3, "max_shift": 2.05, "max_image_seq_len": 8192,
                    "num_train_timesteps": 500}, SIZES[3:5], 1),
}


def schedule(config, steps, tokens):
    """What FluxPipeline.__call__ does with a scheduler of this config."""
    scheduler = FlowMatchEulerDiscreteScheduler(**config)
    mu = calculate_shift(tokens, scheduler.config.base_image_seq_len, scheduler.config.max_image_seq_len,
                         scheduler.config.base_shift, scheduler.config.max_shift)
    scheduler.set_timesteps(sigmas=np.linspace(1.0, 1 / steps, steps), mu=mu)
    return scheduler


def main():
    cases = []
    for name, (config, sizes, min_steps) in CONFIGS.items():
        for height, width in sizes:
            tokens = (height // 16) * (width // 16)
            sigmas = [schedule(config, steps, tokens).sigmas.numpy() for steps in range(min_steps, MAX_STEPS + 1)]
            cases.append({"name": name, "config": config, "height": height, "width": width, "min_steps": min_steps,
                          "sigmas": np.concatenate(sigmas).astype(">f4").tobytes().hex(),
                          "timesteps": schedule(config, 4, tokens).timesteps.tolist()})
    default = pathlib.Path(__file__).parents[2] / "tests/data/sigmas.json"
    out = pathlib.Path(sys.argv[1]) if len(sys.argv) > 1 else default
    lines = ",\n".join(json.dumps(case, separators=(",", ":")) for case in cases)
    out.write_text(f'{{"diffusers":"{diffusers.__version__}","cases":[\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
