"""The three tiny random FLUX pipelines, as data: every size, flag and storage type, in the shape of the published config files.

`tiny-dev`      guidance embedding, F32, four VAE levels, sharded files, the older CLIP end-of-text convention
`tiny-schnell`  no guidance embedding, no resolution shift, BF16, three VAE levels, erf GELU in CLIP
`tiny-odd`      head size 24, F16, two VAE levels with quant convolutions, many config fields left to their defaults
"""

import torch

from tiny_tokenizers import CLIP_END, CLIP_START, CLIP_VOCAB_SIZE, T5_VOCAB_SIZE

MODEL_INDEX = {
    "_class_name": "FluxPipeline",
    "_diffusers_version": "0.30.0.dev0",
    "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
    "text_encoder": ["transformers", "CLIPTextModel"],
    "text_encoder_2": ["transformers", "T5EncoderModel"],
    "tokenizer": ["transformers", "CLIPTokenizer"],
    "tokenizer_2": ["transformers", "T5TokenizerFast"],
    "transformer": ["diffusers", "FluxTransformer2DModel"],
    "vae": ["diffusers", "AutoencoderKL"],
}


def clip_config(hidden, heads, layers, **changes):
    return {
        "architectures": ["CLIPTextModel"], "attention_dropout": 0.0, "bos_token_id": 0, "dropout": 0.0, "eos_token_id": 2,
        "hidden_act": "quick_gelu", "hidden_size": hidden, "initializer_factor": 1.0, "initializer_range": 0.02,
        "intermediate_size": 4 * hidden, "layer_norm_eps": 1e-05, "max_position_embeddings": 77,
        "model_type": "clip_text_model", "num_attention_heads": heads, "num_hidden_layers": layers, "pad_token_id": 1,
        "projection_dim": hidden, "torch_dtype": "bfloat16", "transformers_version": "4.43.3", "vocab_size": CLIP_VOCAB_SIZE,
        **changes,
    }


def t5_config(width, heads, head_size, inner, layers, **changes):
    return {
        "architectures": ["T5EncoderModel"], "classifier_dropout": 0.0, "d_ff": inner, "d_kv": head_size, "d_model": width,
        "decoder_start_token_id": 0, "dense_act_fn": "gelu_new", "dropout_rate": 0.1, "eos_token_id": 1,
        "feed_forward_proj": "gated-gelu", "initializer_factor": 1.0, "is_encoder_decoder": True, "is_gated_act": True,
        "layer_norm_epsilon": 1e-06, "model_type": "t5", "num_decoder_layers": layers, "num_heads": heads, "num_layers": layers,
        "output_past": True, "pad_token_id": 0, "relative_attention_max_distance": 128, "relative_attention_num_buckets": 32,
        "tie_word_embeddings": False, "torch_dtype": "bfloat16", "transformers_version": "4.43.3", "use_cache": True,
        "vocab_size": T5_VOCAB_SIZE, **changes,
    }


def transformer_config(heads, head_size, axes, double, single, in_channels, text, pooled, guidance):
    return {
        "_class_name": "FluxTransformer2DModel", "_diffusers_version": "0.30.0.dev0", "attention_head_dim": head_size,
        "axes_dims_rope": list(axes), "guidance_embeds": guidance, "in_channels": in_channels, "joint_attention_dim": text,
        "num_attention_heads": heads, "num_layers": double, "num_single_layers": single, "patch_size": 1,
        "pooled_projection_dim": pooled,
    }


def vae_config(channels, latent_channels, layers, groups, **changes):
    levels = len(channels)
    return {
        "_class_name": "AutoencoderKL", "_diffusers_version": "0.30.0.dev0", "act_fn": "silu",
        "block_out_channels": list(channels), "down_block_types": ["DownEncoderBlock2D"] * levels, "force_upcast": True,
        "in_channels": 3, "latent_channels": latent_channels, "latents_mean": None, "latents_std": None,
        "layers_per_block": layers, "mid_block_add_attention": True, "norm_num_groups": groups, "out_channels": 3,
        "sample_size": 64, "scaling_factor": 0.3611, "shift_factor": 0.1159,
        "up_block_types": ["UpDecoderBlock2D"] * levels, "use_post_quant_conv": False, "use_quant_conv": False, **changes,
    }


def scheduler_config(dynamic, shift, **changes):
    return {
        "_class_name": "FlowMatchEulerDiscreteScheduler", "_diffusers_version": "0.30.0.dev0", "base_image_seq_len": 256,
        "base_shift": 0.5, "max_image_seq_len": 4096, "max_shift": 1.15, "num_train_timesteps": 1000, "shift": shift,
        "use_dynamic_shifting": dynamic, **changes,
    }


def without(config, *names):
    """The config with fields left out, so that a loader has to know diffusers' defaults."""
    return {key: value for key, value in config.items() if key not in names}


TINY = {
    "tiny-dev": {
        "seed": 11, "dtype": torch.float32,
        "transformer": transformer_config(3, 16, (4, 6, 6), 2, 2, 64, 32, 32, True),
        "text_encoder": clip_config(32, 4, 2, intermediate_size=64),
        "text_encoder_2": t5_config(32, 3, 8, 48, 2),
        "vae": vae_config((8, 16, 16, 16), 16, 1, 4),
        "scheduler": scheduler_config(True, 3.0),
        "shards": 2, "clip_prefix": "text_model.", "clip_position_ids": True, "t5_tied_copy": True,
        "t5_files": ("tokenizer.json", "spiece.model"), "clip_length": 77,
    },
    "tiny-schnell": {
        "seed": 22, "dtype": torch.bfloat16,
        "transformer": transformer_config(4, 16, (4, 6, 6), 2, 2, 64, 40, 24, False),
        "text_encoder": clip_config(24, 2, 2, hidden_act="gelu", bos_token_id=CLIP_START, eos_token_id=CLIP_END,
                                    pad_token_id=CLIP_END, intermediate_size=64),
        "text_encoder_2": t5_config(40, 4, 8, 64, 3, relative_attention_num_buckets=16, relative_attention_max_distance=24),
        "vae": vae_config((8, 16, 16), 16, 1, 4),
        "scheduler": scheduler_config(False, 1.0),
        "shards": 1, "clip_prefix": "text_model.", "clip_position_ids": False, "t5_tied_copy": False,
        "t5_files": ("tokenizer.json",), "clip_length": 77,
    },
    "tiny-odd": {
        "seed": 33, "dtype": torch.float16,
        "transformer": without(transformer_config(3, 24, (4, 8, 12), 1, 3, 16, 24, 36, True), "patch_size"),
        "text_encoder": clip_config(36, 3, 3, intermediate_size=40),
        "text_encoder_2": without(t5_config(24, 2, 16, 40, 2), "relative_attention_max_distance", "dense_act_fn", "is_gated_act"),
        "vae": without(vae_config((8, 16), 4, 2, 4, shift_factor=0.4), "use_quant_conv", "use_post_quant_conv", "mid_block_add_attention",
                       "act_fn", "scaling_factor", "latents_mean", "latents_std", "force_upcast"),
        "scheduler": without(scheduler_config(True, 1.0, base_image_seq_len=16, max_image_seq_len=64, base_shift=0.3,
                                              max_shift=1.4), "num_train_timesteps"),
        "shards": 1, "clip_prefix": "", "clip_position_ids": False, "t5_tied_copy": False,
        "t5_files": ("spiece.model",), "clip_length": 32,
    },
}
