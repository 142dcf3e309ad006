"""Diffusers as the other side of the comparison: one transformer, in f32, bf16, or the recipe's FP8. Library only.

The weights stay bf16 in memory. In `f32` every layer computes with its weight cast to f32, the same numbers as a model held in
f32 (parity_full.py --self-test proves it) in half the memory, so that another program can use the GPU beside it.

Timesteps and guidance reach the embedder in f32 in every precision. Diffusers itself rounds them to the model's dtype, so that in
bf16 a guidance of 3.5 acts as 3.504 and a timestep of 987.3 as 988; a trained embedder hardly notices, a random one returns
another vector, and the error of 50 % that follows would hide everything else. `exact_time = False` is diffusers as it is.
"""

import concurrent.futures
import contextlib
import json

import torch
import torch.nn.functional as F
from diffusers import AutoencoderKL, FlowMatchEulerDiscreteScheduler, FluxPipeline, FluxTransformer2DModel
from diffusers.models.transformers import transformer_flux
from diffusers.utils import logging as diffusers_logging
from safetensors.torch import load_file
from torch import nn
from transformers.utils import logging as transformers_logging

import fp8_recipe

for library in (diffusers_logging, transformers_logging):
    library.set_verbosity_error()

DEFAULT_ATTENTION = transformer_flux.dispatch_attention_fn
ATTENTION = {"f32": fp8_recipe.exact_attention, "bf16": DEFAULT_ATTENTION, "recipe fp8": fp8_recipe.cudnn_attention,
             "recipe fp8 + fa3": fp8_recipe.fa3_like_attention}


class UpcastLinear(nn.Linear):
    """Computes in the dtype of its input with a weight of bf16."""

    def forward(self, inputs):
        return F.linear(inputs, self.weight.to(inputs.dtype), None if self.bias is None else self.bias.to(inputs.dtype))


def load_transformer(folder, device):
    """Straight from the shards to the device: the library's own loading goes through the host's memory."""
    with torch.device("meta"):
        transformer = FluxTransformer2DModel.from_config(json.loads((folder / "config.json").read_text()))
    with concurrent.futures.ThreadPoolExecutor(4) as pool:
        files = sorted(folder.glob("*.safetensors"))
        parts = list(pool.map(lambda file: load_file(file, device=str(device)), files))
    state = {name: value for part in parts for name, value in part.items()}
    transformer.load_state_dict(state, strict=True, assign=True)
    return transformer.requires_grad_(False).eval()


def pipeline_of(scheduler, vae, transformer):
    """Without text encoders: embeddings are given."""
    pipe = FluxPipeline(scheduler=scheduler, vae=vae, text_encoder=None, tokenizer=None, text_encoder_2=None, tokenizer_2=None,
                        transformer=transformer)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def load_pipeline(folder, device):
    vae = AutoencoderKL.from_pretrained(folder / "vae", torch_dtype=torch.bfloat16, local_files_only=True).to(device)
    scheduler = FlowMatchEulerDiscreteScheduler.from_pretrained(folder / "scheduler")
    return pipeline_of(scheduler, vae, load_transformer(folder / "transformer", device))


class Diffusers:
    """One loaded model. `use` chooses precision and loads all adapters in it; then `output` and `sample` run cases."""

    def __init__(self, folder, device, adapters):
        self.device, self.adapters, self.precision = torch.device(device), adapters, None
        self.pipe = load_pipeline(folder, self.device)
        self.exact_time = True
        self.pipe.transformer.time_text_embed.register_forward_pre_hook(self._set_time)

    def use(self, precision):
        """f32, bf16, recipe fp8 or recipe fp8 + fa3. There is no way back from FP8."""
        was_fp8 = self.precision is not None and "fp8" in self.precision
        assert not was_fp8 or "fp8" in precision
        transformer_flux.dispatch_attention_fn = ATTENTION[precision]
        if not was_fp8:
            if self.precision is not None:
                self.pipe.unload_lora_weights()
            self._convert(precision)
            self._load_adapters()
        self.precision = precision

    def _convert(self, precision):
        self.dtype = torch.float32 if precision == "f32" else torch.bfloat16
        for module in self.pipe.transformer.modules():
            if isinstance(module, nn.Linear):
                module.__class__ = UpcastLinear if precision == "f32" else nn.Linear
            for name, value in module.named_parameters(recurse=False):
                if not (isinstance(module, nn.Linear) and name == "weight"):
                    value.data = value.data.to(self.dtype)
        if "fp8" in precision:
            fp8_recipe.quantize_blocks(self.pipe.transformer)
        if self.device.type == "cuda":
            torch.cuda.empty_cache()

    def _load_adapters(self):
        for name, file in self.adapters.items():
            self.pipe.load_lora_weights({key: value.to(self.dtype) for key, value in load_file(file).items()}, adapter_name=name)
        for name, value in self.pipe.transformer.named_parameters():
            if ".lora_" in name:  # PEFT may have taken over the weights' dtype
                value.data = value.data.to(self.device, self.dtype)

    def _set_time(self, _module, inputs):
        """Instead of what was rounded on the way: timestep and guidance in f32, times 1000."""
        if not self.exact_time:
            return None
        return (self.pipe._current_timestep.float().reshape(1), torch.tensor([1000.0 * self.guidance], device=self.device), *inputs[2:])

    def _activate(self, case):
        """`case`: adapter name -> scale; empty for none."""
        if not case:
            return self.pipe.disable_lora()
        self.pipe.enable_lora()
        self.pipe.set_adapters(list(case), list(case.values()))

    @torch.no_grad()
    def output(self, case, size, inputs, timestep, guidance):
        """The transformer's output of one step, (1, tokens, channels) in f32 on the CPU."""
        self._activate(case)
        self.guidance, self.pipe._current_timestep = guidance, torch.tensor(1000.0 * timestep, device=self.device)
        width, height = size
        given = {name: value.to(self.device, self.dtype) for name, value in inputs.items()}
        image_ids = self.pipe._prepare_latent_image_ids(1, height // 16, width // 16, self.device, self.dtype)
        text_ids = torch.zeros(given["prompt_embeds"].shape[1], 3, device=self.device, dtype=self.dtype)
        result = self.pipe.transformer(hidden_states=given["latents"], encoder_hidden_states=given["prompt_embeds"],
                                       pooled_projections=given["pooled_prompt_embeds"], img_ids=image_ids, txt_ids=text_ids,
                                       timestep=torch.tensor([timestep], device=self.device, dtype=self.dtype),
                                       guidance=torch.tensor([guidance], device=self.device), return_dict=False)[0]
        return result.float().cpu()

    @torch.no_grad()
    def sample(self, case, size, inputs, steps, guidance):
        """Latents after `steps` steps of the whole pipeline, in f32 on the CPU."""
        self._activate(case)
        self.guidance = guidance
        given = {name: value.to(self.device, self.dtype) for name, value in inputs.items()}
        result = self.pipe(width=size[0], height=size[1], num_inference_steps=steps, guidance_scale=guidance, output_type="latent", **given)
        return result.images.float().cpu()

    @contextlib.contextmanager
    def without_slice(self, adapter, module):
        """One layer's adapter left out, as a program that drops a key would."""
        weight = self.pipe.transformer.get_submodule(module).lora_B[adapter].weight
        kept = weight.data
        weight.data = torch.zeros_like(kept)
        try:
            yield
        finally:
            weight.data = kept
