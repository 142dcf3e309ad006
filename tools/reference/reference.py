"""The Python side of every comparison: loads a diffusers folder, runs it, and records intermediate tensors under our names.

The names are documented in README.md ("Tap names"). Library only; `golden.py` and `planted.py` run it.
"""

import contextlib
import warnings

import torch
from diffusers import FluxPipeline
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

diffusers_logging.set_verbosity_error()
transformers_logging.set_verbosity_error()
diffusers_logging.disable_progress_bar()
transformers_logging.disable_progress_bar()
warnings.filterwarnings("ignore")


def load(folder, dtype=torch.float32):
    pipe = FluxPipeline.from_pretrained(str(folder), torch_dtype=dtype, local_files_only=True)
    pipe.set_progress_bar_config(disable=True)
    for part in (pipe.transformer, pipe.text_encoder, pipe.text_encoder_2, pipe.vae):
        part.eval()
    return pipe


def relative(value, truth):
    """Norm of the difference over norm of the truth: the error measure of all our comparisons."""
    value, truth = value.double(), truth.double()
    return float((value - truth).norm() / truth.norm().clamp_min(1e-300))


class Taps:
    """Collects float32 copies of hooked outputs; only the first forward of the transformer is kept."""

    def __init__(self):
        self.values = {}
        self.open = True

    def put(self, name, value):
        if self.open and name not in self.values:
            self.values[name] = value.detach().float().contiguous().clone()


@contextlib.contextmanager
def tapped(pipe):
    """Hooks all tap points; yields the Taps. Removing the hooks leaves the pipeline as it was."""
    taps, handles = Taps(), []

    def after(module, name, pick=lambda out: out):
        handles.append(module.register_forward_hook(lambda _m, _i, out: taps.put(name, pick(out))))

    _tap_transformer(pipe.transformer, taps, after, handles)
    for i, layer in enumerate(pipe.text_encoder.encoder.layers):
        after(layer, f"text_encoder.layers.{i}", _first)
    for i, block in enumerate(pipe.text_encoder_2.encoder.block):
        after(block, f"text_encoder_2.block.{i}", _first)
    decoder = pipe.vae.decoder
    after(decoder.conv_in, "vae.decoder.conv_in")
    after(decoder.mid_block, "vae.decoder.mid_block")
    for i, block in enumerate(decoder.up_blocks):
        after(block, f"vae.decoder.up_blocks.{i}")
    try:
        yield taps
    finally:
        for handle in handles:
            handle.remove()


def _first(out):
    return out[0] if isinstance(out, tuple) else out


def _tap_transformer(transformer, taps, after, handles):
    after(transformer.x_embedder, "img_in")
    after(transformer.context_embedder, "txt_in")
    after(transformer.time_text_embed, "vec")
    for i, block in enumerate(transformer.transformer_blocks):
        after(block, f"double_blocks.{i}.txt", lambda out: out[0])
        after(block, f"double_blocks.{i}.img", lambda out: out[1])
        _tap_joint_attention(block.attn, f"double_blocks.{i}.attn", taps, handles)
    for i, block in enumerate(transformer.single_transformer_blocks):
        after(block.attn, f"single_blocks.{i}.attn")
        after(block, f"single_blocks.{i}", lambda out: torch.cat(out, dim=1))
    after(transformer, "final_layer", _first)


def _tap_joint_attention(attention, name, taps, handles):
    """The attention output before its two projections: their inputs, text rows first."""
    image = {}

    def before_image(_module, inputs):
        image["rows"] = inputs[0]

    def before_text(_module, inputs):
        taps.put(name, torch.cat([inputs[0], image["rows"]], dim=1))

    handles.append(attention.to_out[0].register_forward_pre_hook(before_image))
    handles.append(attention.to_add_out.register_forward_pre_hook(before_text))


def initial_noise(pipe, case, dtype=torch.float32):
    """Packed noise (1, (H/2f)*(W/2f), 4C), as the pipeline draws it from a CPU generator."""
    generator = torch.Generator("cpu").manual_seed(case["seed"])
    channels = pipe.transformer.config.in_channels // 4
    return pipe.prepare_latents(1, channels, case["height"], case["width"], dtype, torch.device("cpu"), generator)[0]


@torch.no_grad()
def encode(pipe, case):
    """prompt_embeds (1, T, D) and pooled_prompt_embeds (1, P)."""
    return pipe.encode_prompt(case["prompt"], max_sequence_length=case["max_sequence_length"])[:2]


@torch.no_grad()
def sample(pipe, case, **changes):
    """Final packed latents, by the whole pipeline. `changes` are passed on (latents=, prompt_embeds=, ...)."""
    arguments = dict(prompt=case["prompt"], width=case["width"], height=case["height"], num_inference_steps=case["steps"],
                     guidance_scale=case["guidance"], max_sequence_length=case["max_sequence_length"], output_type="latent",
                     generator=torch.Generator("cpu").manual_seed(case["seed"]))
    arguments.update(changes)
    if arguments.get("prompt_embeds") is not None:
        arguments["prompt"] = None
    return pipe(**arguments).images


@torch.no_grad()
def decode(pipe, latents, case):
    """Image (1, 3, H, W), in [-1, 1] where the model behaves, before any clamping."""
    config = pipe.vae.config
    unpacked = pipe._unpack_latents(latents, case["height"], case["width"], pipe.vae_scale_factor)
    return pipe.vae.decode(unpacked / config.scaling_factor + config.shift_factor, return_dict=False)[0]


def token_ids(pipe, case):
    """The ids that both text encoders receive, padded."""
    clip = pipe.tokenizer(case["prompt"], padding="max_length", max_length=pipe.tokenizer_max_length, truncation=True)
    t5 = pipe.tokenizer_2(case["prompt"], padding="max_length", max_length=case["max_sequence_length"], truncation=True)
    return clip.input_ids, t5.input_ids
