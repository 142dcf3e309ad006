"""The demo model: sizes, construction, and reading and writing the diffusers folder layout of FLUX.1."""
from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import torch
from diffusers import AutoencoderKL, FluxTransformer2DModel
from safetensors.torch import load_file, save_file
from transformers import CLIPTextConfig, CLIPTextModel, CLIPTokenizer, T5Config, T5EncoderModel, T5TokenizerFast

CLIP_LENGTH = 77
CLIP_TRAIN_LENGTH = 32  # causal and pooled at the end of text: what follows it cannot change the result
T5_LENGTHS = (64, 512)  # prompts are padded to either; padding is attended to, as in FLUX

TRANSFORMER = dict(
    patch_size=1, in_channels=64, num_layers=2, num_single_layers=5, attention_head_dim=32, num_attention_heads=6,
    joint_attention_dim=128, pooled_projection_dim=96, guidance_embeds=True, axes_dims_rope=(8, 12, 12))
VAE = dict(
    in_channels=3, out_channels=3, down_block_types=("DownEncoderBlock2D",) * 4, up_block_types=("UpDecoderBlock2D",) * 4,
    block_out_channels=(24, 48, 64, 64), layers_per_block=1, act_fn="silu", latent_channels=16, norm_num_groups=1,
    sample_size=256, scaling_factor=1.0, shift_factor=0.0, force_upcast=True, use_quant_conv=False,
    use_post_quant_conv=False, mid_block_add_attention=True)
SCHEDULER = {
    "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.30.0.dev0", "base_image_seq_len": 256,
    "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000, "shift": 3.0,
    "use_dynamic_shifting": True}
INDEX = {
    "_class_name": "FluxPipeline", "_diffusers_version": "0.30.0.dev0",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"], "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"], "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"], "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"]}


def clip_config(vocabulary: int) -> CLIPTextConfig:
    return CLIPTextConfig(
        vocab_size=vocabulary, hidden_size=96, intermediate_size=384, projection_dim=96, num_hidden_layers=3,
        num_attention_heads=3, max_position_embeddings=CLIP_LENGTH, hidden_act="quick_gelu", layer_norm_eps=1e-5,
        bos_token_id=vocabulary - 2, eos_token_id=vocabulary - 1, pad_token_id=vocabulary - 1)


def t5_config(vocabulary: int) -> T5Config:
    return T5Config(
        vocab_size=vocabulary, d_model=128, d_kv=32, d_ff=256, num_layers=3, num_decoder_layers=3, num_heads=4,
        relative_attention_num_buckets=32, relative_attention_max_distance=128, dropout_rate=0.0,
        feed_forward_proj="gated-gelu", tie_word_embeddings=False, pad_token_id=0, eos_token_id=1, decoder_start_token_id=0)


@dataclass
class Demo:
    """All parts of the model. `vae` may be None while only the rest is trained."""
    transformer: FluxTransformer2DModel
    text_encoder: CLIPTextModel
    text_encoder_2: T5EncoderModel
    vae: AutoencoderKL | None = None

    def trained(self) -> list[torch.nn.Module]:
        return [self.transformer, self.text_encoder, self.text_encoder_2]

    def encode(self, clip_ids: torch.Tensor, t5_ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Pooled CLIP output (B, 96) and T5 states (B, L, 128)."""
        return self.text_encoder(input_ids=clip_ids).pooler_output, self.text_encoder_2(input_ids=t5_ids)[0]


class Words:
    """Prompts to padded ids, by the tokenizers in a model folder."""

    def __init__(self, folder: Path):
        self.clip = CLIPTokenizer.from_pretrained(folder / "tokenizer")
        self.t5 = T5TokenizerFast.from_pretrained(folder / "tokenizer_2")

    def __call__(self, prompts: list[str], clip_length: int = CLIP_TRAIN_LENGTH, t5_length: int = T5_LENGTHS[0]):
        clip = self.clip(prompts, padding="max_length", max_length=clip_length, truncation=True).input_ids
        t5 = self.t5(prompts, padding="max_length", max_length=t5_length, truncation=True).input_ids
        return torch.tensor(clip), torch.tensor(t5)


def _zero_gates(transformer: FluxTransformer2DModel) -> None:
    """adaLN-Zero: every block starts as the identity, the output as zero. Matrices get Xavier weights."""
    for name, module in transformer.named_modules():
        if isinstance(module, torch.nn.Linear):
            torch.nn.init.xavier_uniform_(module.weight)
            torch.nn.init.zeros_(module.bias)
    blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
    modulation = [m.linear for b in blocks for n, m in b.named_children() if n in ("norm", "norm1", "norm1_context")]
    for linear in [*modulation, transformer.norm_out.linear, transformer.proj_out]:
        torch.nn.init.zeros_(linear.weight)


def new_base(words: Words) -> Demo:
    transformer = FluxTransformer2DModel(**TRANSFORMER)
    _zero_gates(transformer)
    clip = CLIPTextModel._from_config(clip_config(len(words.clip)), attn_implementation="eager")
    t5 = T5EncoderModel._from_config(t5_config(len(words.t5)), attn_implementation="eager")
    return Demo(transformer, clip, t5)


def new_vae() -> AutoencoderKL:
    return AutoencoderKL(**VAE)


# ---- the folder ------------------------------------------------------------------------------------------

def _write_json(path: Path, value: dict) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, sort_keys=True) + "\n")


def _write_weights(path: Path, state: dict[str, torch.Tensor]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({k: v.detach().to("cpu", torch.bfloat16).contiguous() for k, v in state.items()}, path, metadata={"format": "pt"})


def save_vae(folder: Path, vae: AutoencoderKL) -> None:
    config = {"_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0.dev0", **VAE,
              "scaling_factor": vae.config.scaling_factor, "shift_factor": vae.config.shift_factor}
    _write_json(folder / "vae/config.json", config)
    _write_weights(folder / "vae/diffusion_pytorch_model.safetensors", vae.state_dict())


def _clip_file_name(name: str) -> str:
    """CLIP-L's published files name everything below `text_model.`; newer transformers drop it in memory."""
    return name if name.startswith("text_model.") else "text_model." + name


def save_base(folder: Path, demo: Demo) -> None:
    """Everything but VAE and tokenizers."""
    _write_json(folder / "model_index.json", INDEX)
    _write_json(folder / "scheduler/scheduler_config.json", SCHEDULER)
    config = {"_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.30.0.dev0", **TRANSFORMER}
    _write_json(folder / "transformer/config.json", config)
    _write_weights(folder / "transformer/diffusion_pytorch_model.safetensors", demo.transformer.state_dict())
    for name, encoder in (("text_encoder", demo.text_encoder), ("text_encoder_2", demo.text_encoder_2)):
        config = encoder.config.to_dict() | {"architectures": [type(encoder).__name__], "torch_dtype": "bfloat16"}
        for unwanted in ("transformers_version", "dtype", "_name_or_path"):
            config.pop(unwanted, None)
        _write_json(folder / name / "config.json", config)
    clip = {_clip_file_name(k): v for k, v in demo.text_encoder.state_dict().items() if not k.endswith("position_ids")}
    _write_weights(folder / "text_encoder/model.safetensors", clip)
    t5 = {k: v for k, v in demo.text_encoder_2.state_dict().items() if k != "encoder.embed_tokens.weight"}  # tied to `shared`
    _write_weights(folder / "text_encoder_2/model.safetensors", t5)


def load_vae(folder: Path) -> AutoencoderKL:
    config = json.loads((folder / "vae/config.json").read_text())
    vae = AutoencoderKL(**{k: v for k, v in config.items() if not k.startswith("_")})
    vae.load_state_dict({k: v.float() for k, v in load_file(folder / "vae/diffusion_pytorch_model.safetensors").items()})
    return vae


def load_transformer(folder: Path, transformer: FluxTransformer2DModel) -> None:
    state = load_file(folder / "transformer/diffusion_pytorch_model.safetensors")
    transformer.load_state_dict({k: v.float() for k, v in state.items()})


def load_base(folder: Path, words: Words) -> Demo:
    """Float32 weights of a folder that save_base wrote."""
    demo = new_base(words)
    read = lambda path: {k: v.float() for k, v in load_file(folder / path).items()}
    load_transformer(folder, demo.transformer)
    clip, here = read("text_encoder/model.safetensors"), demo.text_encoder.state_dict()
    demo.text_encoder.load_state_dict({k: clip[_clip_file_name(k)] if _clip_file_name(k) in clip else v for k, v in here.items()})
    t5 = read("text_encoder_2/model.safetensors")
    demo.text_encoder_2.load_state_dict(t5 | {"encoder.embed_tokens.weight": t5["shared.weight"]})
    return demo
