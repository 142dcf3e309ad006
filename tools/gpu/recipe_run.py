"""The published recipe on one GPU, kept alive for measurements: FLUX.1 [dev]'s shape with random weights, diffusers, PEFT adapters.

Give it the model that the other side has (--model): at the limit of power the numbers in a product decide how fast it goes.

Modes: `eager` (bf16 with an adapter, nothing compiled), `compiled` (bf16, compiled, hot-swapped adapters), `all` (FP8 as well).
Attention is cuDNN's in the latter two. Reads commands from standard input, one a line, and answers each with one line of JSON:

    image   {"event": "image", "seconds": ...}      denoising, VAE and conversion, embeddings given
    swap    {"event": "swap", "seconds": ...}       the other of two adapters takes the place of the active one
    quit    {"event": "quit", "peak_gib": ...}

Before the first command it answers {"event": "ready", ...} with the seconds of loading, of the first adapter, and of the first
image, which compiles. `--images N` needs no commands: N images, a swap, N images.
"""

import argparse
import json
import pathlib
import sys
import time

import torch
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxTransformer2DModel

import fp8_recipe
import random_flux
from diffusers_side import load_pipeline, pipeline_of
from random_adapters import ATTENTION, BLOCK_LINEARS, random_adapter
from tiny_configs import scheduler_config

MODES = {"eager": dict(fp8=False, compiled=False), "compiled": dict(fp8=False, compiled=True), "all": dict(fp8=True, compiled=True)}


def synchronize():
    if torch.cuda.is_available():
        torch.cuda.synchronize()


def timed(function, *arguments):
    synchronize()
    start = time.perf_counter()
    function(*arguments)
    synchronize()
    return time.perf_counter() - start


def random_pipeline(shape, device):
    """With the weights that torch begins training with."""
    spec = random_flux.SHAPES[shape]
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device):
        transformer = FluxTransformer2DModel.from_config(spec["transformer"]).eval()
        vae = AutoencoderKL.from_config(spec["vae"]).eval()
    torch.set_default_dtype(torch.float32)
    return pipeline_of(FlowMatchEulerDiscreteScheduler.from_config(scheduler_config(True, 3.0)), vae, transformer)


class Recipe:
    def __init__(self, options):
        self.options, self.device = options, options.device
        self.mode = MODES[options.mode]
        torch.manual_seed(0)
        self.pipe = load_pipeline(options.model, self.device) if options.model else random_pipeline(options.shape, self.device)
        transformer = self.pipe.transformer
        sizes = {"prompt_embeds": (1, 512, transformer.config.joint_attention_dim),
                 "pooled_prompt_embeds": (1, transformer.config.pooled_projection_dim)}
        self.embeddings = {name: torch.randn(size, device=self.device, dtype=torch.bfloat16) for name, size in sizes.items()}
        # Two adapters of different rank and reach, as files on the host: a swap includes the way to the GPU.
        self.states = [random_adapter(transformer, BLOCK_LINEARS, 32, 1, self.device), random_adapter(transformer, ATTENTION, 16, 2, self.device)]
        self.active = 0
        if self.mode["fp8"]:
            fp8_recipe.quantize_blocks(transformer)

    def prepare(self):
        """Attention, the first adapter, compilation; returns the seconds of each and of the first image."""
        if self.mode["compiled"] and self.device == "cuda":
            self.pipe.transformer.set_attention_backend("_native_cudnn")
        if self.mode["compiled"]:
            self.pipe.enable_lora_hotswap(target_rank=self.options.max_rank)
        adapter = timed(lambda: self.pipe.load_lora_weights(dict(self.states[0]), adapter_name="style"))
        if self.mode["compiled"]:
            self.pipe.transformer.compile_repeated_blocks(fullgraph=True)
        first = self.image()
        if torch.cuda.is_available():
            torch.cuda.reset_peak_memory_stats()
        return {"first_adapter_seconds": adapter, "first_image_seconds": first}

    def image(self):
        def run():
            with torch.no_grad():
                self.pipe(**self.embeddings, width=self.options.size, height=self.options.size, guidance_scale=3.5,
                          num_inference_steps=self.options.steps, generator=torch.Generator().manual_seed(0), output_type="pil")
        return timed(run)

    def swap(self):
        """Hot-swap where the model is compiled; else out with the old and in with the new."""
        self.active = 1 - self.active
        state = dict(self.states[self.active])
        if self.mode["compiled"]:
            return timed(lambda: self.pipe.load_lora_weights(state, adapter_name="style", hotswap=True))

        def replace():
            self.pipe.unload_lora_weights()
            self.pipe.load_lora_weights(state, adapter_name="style")
        return timed(replace)


def answer(event, **values):
    print(json.dumps({"event": event, **values}), flush=True)


def peak_gib():
    return torch.cuda.max_memory_allocated() / 2**30 if torch.cuda.is_available() else 0.0


def serve(recipe, commands):
    for command in commands:
        command = command.strip()
        if command == "image":
            answer("image", seconds=recipe.image(), adapter=recipe.active)
        elif command == "swap":
            answer("swap", seconds=recipe.swap())
        elif command == "quit":
            break
        elif command:
            answer("error", message=f"unknown command {command}; expected image, swap or quit")
    answer("quit", peak_gib=peak_gib())


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mode", choices=MODES, default="all", help="which optimisations (default all)")
    parser.add_argument("--model", type=pathlib.Path, help="folder that random_flux.py wrote; without it, random weights of --shape")
    parser.add_argument("--shape", choices=random_flux.SHAPES, default="flux-dev")
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--size", type=int, default=1024, help="of the square picture (default 1024)")
    parser.add_argument("--steps", type=int, default=28)
    parser.add_argument("--max-rank", type=int, default=128, help="rank to which hot-swapped adapters are padded (default 128)")
    parser.add_argument("--images", type=int, help="measure so many images, a swap, and as many again, without commands")
    options = parser.parse_args()
    start = time.perf_counter()
    recipe = Recipe(options)
    loaded = time.perf_counter() - start
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    answer("ready", mode=options.mode, device=device, torch=torch.__version__, load_seconds=loaded, **recipe.prepare())
    serve(recipe, sys.stdin if options.images is None else ["image"] * options.images + ["swap"] + ["image"] * options.images)


if __name__ == "__main__":
    main()
