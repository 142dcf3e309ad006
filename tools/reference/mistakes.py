"""The planted mistakes: each takes a copy of the pipeline and makes it wrong in one plausible way. Library only.

MISTAKES maps a name to (measured quantity, function(pipe)). Quantities: `latents` (minus noise), `image`, `encoded` (VAE mean),
`prompt_embeds`, `pooled`. A function returns False where the mistake makes no sense for a model (no guidance, no shift).
"""

import torch
from torch import nn


def patch(owner, name, function):
    """Replaces a method of one object; the function gets the original first."""
    original = getattr(owner, name)
    setattr(owner, name, lambda *args, **kwargs: function(original, *args, **kwargs))


def swap_rows(linear, first, second, size):
    """Exchanges two chunks of `size` output rows of a linear layer."""
    order = torch.arange(linear.out_features)
    order[first * size:(first + 1) * size], order[second * size:(second + 1) * size] = (
        torch.arange(second * size, (second + 1) * size), torch.arange(first * size, (first + 1) * size))
    linear.weight.data, linear.bias.data = linear.weight.data[order], linear.bias.data[order]


def blocks(pipe):
    return [*pipe.transformer.transformer_blocks, *pipe.transformer.single_transformer_blocks]


def modules(root, kind):
    return [module for module in root.modules() if isinstance(module, kind)]


# Transformer

def no_rope(pipe):
    def forward(call, ids):
        cosine, sine = call(ids)
        return torch.ones_like(cosine), torch.zeros_like(sine)
    patch(pipe.transformer.pos_embed, "forward", forward)


def rope_on_wrong_rows(pipe):
    """Image rows before text rows in the position table, but not in the attention."""
    patch(pipe.transformer.pos_embed, "forward", lambda call, ids: call(torch.cat([ids[(ids != 0).any(1)], ids[(ids == 0).all(1)]])))


def rows_and_columns_swapped(pipe):
    patch(pipe.transformer.pos_embed, "forward", lambda call, ids: call(ids[:, [0, 2, 1]]))


def rope_axes_even(pipe):
    """All axes the same size, as in a model with other rope axes."""
    rope = pipe.transformer.pos_embed
    total = sum(rope.axes_dim) // 2
    third = total // 3
    rope.axes_dim = [2 * third, 2 * third, 2 * (total - 2 * third)]


def rope_by_halves(pipe):
    """Tables laid out for pairs i, i + d/2 (as Llama does), read as pairs of neighbours."""
    def forward(call, ids):
        return tuple(torch.cat([table[:, 0::2], table[:, 1::2]], dim=1) for table in call(ids))
    patch(pipe.transformer.pos_embed, "forward", forward)


def shift_and_scale_swapped(pipe):
    for block in pipe.transformer.transformer_blocks:
        swap_rows(block.norm1.linear, 0, 1, pipe.transformer.inner_dim)


def text_shift_and_scale_swapped(pipe):
    for block in pipe.transformer.transformer_blocks:
        swap_rows(block.norm1_context.linear, 3, 4, pipe.transformer.inner_dim)


def single_shift_and_scale_swapped(pipe):
    for block in pipe.transformer.single_transformer_blocks:
        swap_rows(block.norm.linear, 0, 1, pipe.transformer.inner_dim)


def final_halves_swapped(pipe):
    swap_rows(pipe.transformer.norm_out.linear, 0, 1, pipe.transformer.inner_dim)


def gelu_erf(pipe):
    for block in pipe.transformer.transformer_blocks:
        block.ff.net[0].approximate = block.ff_context.net[0].approximate = "none"
    for block in pipe.transformer.single_transformer_blocks:
        block.act_mlp = nn.GELU()


def no_qk_norm(pipe):
    for block in blocks(pipe):
        for name in ("norm_q", "norm_k", "norm_added_q", "norm_added_k"):
            if hasattr(block.attn, name):
                setattr(block.attn, name, nn.Identity())


def qk_gain_of_image_for_text(pipe):
    for block in pipe.transformer.transformer_blocks:
        block.attn.norm_added_q, block.attn.norm_added_k = block.attn.norm_q, block.attn.norm_k


def uniform_attention(pipe):
    for block in blocks(pipe):
        block.attn.norm_q.weight.data.zero_()
        if hasattr(block.attn, "norm_added_q"):
            block.attn.norm_added_q.weight.data.zero_()


def attention_scale_of_one_head_more(pipe):
    """The scale 1/sqrt(d) with d of a neighbouring head size."""
    for block in blocks(pipe):
        size = block.attn.head_dim
        block.attn.norm_q.weight.data *= (size / (size + 8)) ** 0.5


def mlp_before_attention(pipe):
    """The single block's last linear reads [mlp, attention]."""
    for block in pipe.transformer.single_transformer_blocks:
        weight, width = block.proj_out.weight.data, pipe.transformer.inner_dim
        block.proj_out.weight.data = torch.cat([weight[:, width:], weight[:, :width]], dim=1)


def gate_missing(pipe):
    """The first double block's image attention is added without its gate."""
    norm, width = pipe.transformer.transformer_blocks[0].norm1, pipe.transformer.inner_dim
    norm.linear.weight.data[2 * width:3 * width] = 0
    norm.linear.bias.data[2 * width:3 * width] = 1


def guidance_ignored(pipe):
    if not pipe.transformer.config.guidance_embeds:
        return False
    part = pipe.transformer.time_text_embed
    patch(part, "forward", lambda call, timestep, guidance, pooled: call(timestep, torch.zeros_like(guidance), pooled))


def guidance_not_times_1000(pipe):
    if not pipe.transformer.config.guidance_embeds:
        return False
    part = pipe.transformer.time_text_embed
    patch(part, "forward", lambda call, timestep, guidance, pooled: call(timestep, guidance / 1000, pooled))


def pooled_ignored(pipe):
    part = pipe.transformer.time_text_embed
    patch(part, "forward", lambda call, *inputs: call(*inputs[:-1], torch.zeros_like(inputs[-1])))


def timestep_not_times_1000(pipe):
    part = pipe.transformer.time_text_embed
    patch(part, "forward", lambda call, timestep, *rest: call(timestep / 1000, *rest))


def sine_before_cosine(pipe):
    pipe.transformer.time_text_embed.time_proj.flip_sin_to_cos = False


def frequencies_to_the_end(pipe):
    """exp(-ln(10000) * i / (half - 1)) instead of i / half."""
    pipe.transformer.time_text_embed.time_proj.downscale_freq_shift = 1


def modulation_of_step_0(pipe):
    """A captured graph that keeps the first step's modulation for ever."""
    part, kept = pipe.transformer.time_text_embed, []

    def forward(call, *inputs):
        kept.append(call(*inputs))
        return kept[0]
    patch(part, "forward", forward)


def no_silu_before_modulation(pipe):
    for module in pipe.transformer.modules():
        if hasattr(module, "linear") and isinstance(getattr(module, "silu", None), nn.SiLU):
            module.silu = nn.Identity()


# Sampling

def sigmas_not_shifted(pipe):
    if not pipe.scheduler.config.use_dynamic_shifting:
        return False
    patch(pipe.scheduler, "time_shift", lambda call, mu, sigma, t: t)


def shift_of_full_resolution(pipe):
    """mu of max_image_seq_len whatever the picture's size."""
    if not pipe.scheduler.config.use_dynamic_shifting:
        return False
    patch(pipe.scheduler, "time_shift", lambda call, mu, sigma, t: call(pipe.scheduler.config.max_shift, sigma, t))


# VAE

def vae_shift_missing(pipe):
    pipe.vae.register_to_config(shift_factor=0.0)


def vae_shift_before_scale(pipe):
    config = pipe.vae.config
    pipe.vae.register_to_config(shift_factor=config.shift_factor / config.scaling_factor)


def vae_without_attention(pipe):
    for part in (pipe.vae.decoder, pipe.vae.encoder):
        part.mid_block.attentions[0].to_out[0].weight.data.zero_()
        part.mid_block.attentions[0].to_out[0].bias.data.zero_()


def vae_one_group_more(pipe):
    for norm in modules(pipe.vae, nn.GroupNorm):
        norm.num_groups *= 2


def upsample_bilinear(pipe):
    from diffusers.models.upsampling import Upsample2D
    for up in modules(pipe.vae.decoder, Upsample2D):
        up.interpolate = False
        patch(up.conv, "forward", lambda call, x: call(nn.functional.interpolate(x, scale_factor=2.0, mode="bilinear")))


def downsample_padded_evenly(pipe):
    """The encoder's strided convolution pads right and below only; here all around."""
    from diffusers.models.downsampling import Downsample2D
    for down in modules(pipe.vae.encoder, Downsample2D):
        down.padding = 1
        down.conv.padding = (1, 1)


def quant_convolutions_missing(pipe):
    if pipe.vae.quant_conv is None:
        return False
    pipe.vae.quant_conv = pipe.vae.post_quant_conv = None


def patches_channel_last(pipe):
    """The 2x2 patch read as (row, column, channel) instead of (channel, row, column)."""
    def unpack(call, latents, *sizes):
        return call(latents.unflatten(-1, (4, -1)).transpose(-1, -2).flatten(-2), *sizes)
    patch(pipe, "_unpack_latents", unpack)


def latents_transposed(pipe):
    """Rows and columns of the patch exchanged."""
    def unpack(call, latents, *sizes):
        return call(latents.unflatten(-1, (-1, 2, 2)).transpose(-1, -2).flatten(-3), *sizes)
    patch(pipe, "_unpack_latents", unpack)


# T5

def t5_no_position_bias(pipe):
    pipe.text_encoder_2.encoder.block[0].layer[0].SelfAttention.relative_attention_bias.weight.data.zero_()


def t5_position_bias_in_first_block_only(pipe):
    for block in pipe.text_encoder_2.encoder.block[1:]:
        patch(block, "forward", lambda call, *args, **kwargs: call(
            *[a * 0 if torch.is_tensor(a) and a.ndim == 4 else a for a in args],
            **{k: v * 0 if k == "position_bias" and v is not None else v for k, v in kwargs.items()}))


def t5_one_sided_buckets(pipe):
    attention = pipe.text_encoder_2.encoder.block[0].layer[0].SelfAttention
    patch(attention, "_relative_position_bucket", lambda call, distance, **options: call(-distance, **options))


def t5_attention_scaled(pipe):
    for block in pipe.text_encoder_2.encoder.block:
        attention = block.layer[0].SelfAttention
        attention.q.weight.data /= attention.key_value_proj_dim ** 0.5


def t5_padding_masked(pipe):
    patch(pipe.text_encoder_2, "forward", lambda call, ids, **options: call(ids, attention_mask=(ids != 0).long(), **options))


def t5_gelu_erf(pipe):
    for block in pipe.text_encoder_2.encoder.block:
        block.layer[1].DenseReluDense.act = nn.GELU()


def t5_gate_exchanged(pipe):
    for block in pipe.text_encoder_2.encoder.block:
        dense = block.layer[1].DenseReluDense
        dense.wi_0, dense.wi_1 = dense.wi_1, dense.wi_0


def t5_norm_subtracts_mean(pipe):
    for block in pipe.text_encoder_2.encoder.block:
        for layer in block.layer:
            patch(layer.layer_norm, "forward", lambda call, x: call(x - x.mean(-1, keepdim=True)))


def t5_no_final_norm(pipe):
    pipe.text_encoder_2.encoder.final_layer_norm = nn.Identity()


def t5_without_end_token(pipe):
    patch(pipe.text_encoder_2, "forward", lambda call, ids, **options: call(torch.where(ids == 1, 0, ids), **options))


# CLIP

def clip_pooled_at(position):
    def plant(pipe):
        def forward(call, ids, **options):
            out = call(ids, **options)
            end = int((ids[0] == ids.max()).int().argmax())
            out.pooler_output = out.last_hidden_state[:, end - 1 if position == "before" else -1]
            return out
        patch(pipe.text_encoder, "forward", forward)
    return plant


def clip_without_causal_mask(pipe):
    patch(pipe.text_encoder.encoder, "forward", lambda call, inputs_embeds, attention_mask=None, **options: call(
        inputs_embeds=inputs_embeds, attention_mask=None, **{**options, "is_causal": False}))


def clip_other_gelu(pipe):
    from transformers.activations import ACT2FN
    other = "gelu" if pipe.text_encoder.config.hidden_act == "quick_gelu" else "quick_gelu"
    for layer in pipe.text_encoder.encoder.layers:
        layer.mlp.activation_fn = ACT2FN[other]


def clip_tanh_gelu(pipe):
    from transformers.activations import ACT2FN
    for layer in pipe.text_encoder.encoder.layers:
        layer.mlp.activation_fn = ACT2FN["gelu_new"]


def clip_no_final_norm(pipe):
    pipe.text_encoder.final_layer_norm = nn.Identity()


def clip_no_positions(pipe):
    pipe.text_encoder.embeddings.position_embedding.weight.data.zero_()


def clip_norms_exchanged(pipe):
    for layer in pipe.text_encoder.encoder.layers:
        layer.layer_norm1, layer.layer_norm2 = layer.layer_norm2, layer.layer_norm1


MISTAKES = {function.__name__: (quantity, function) for quantity, functions in {
    "latents": (no_rope, rope_on_wrong_rows, rows_and_columns_swapped, rope_axes_even, rope_by_halves, shift_and_scale_swapped,
                text_shift_and_scale_swapped, single_shift_and_scale_swapped, final_halves_swapped, gelu_erf, no_qk_norm,
                qk_gain_of_image_for_text, uniform_attention, attention_scale_of_one_head_more, mlp_before_attention, gate_missing,
                guidance_ignored, guidance_not_times_1000, pooled_ignored, timestep_not_times_1000, sine_before_cosine,
                frequencies_to_the_end, modulation_of_step_0, no_silu_before_modulation, sigmas_not_shifted,
                shift_of_full_resolution),
    "image": (vae_shift_missing, vae_shift_before_scale, vae_without_attention, vae_one_group_more, upsample_bilinear,
              quant_convolutions_missing, patches_channel_last, latents_transposed),
    "encoded": (downsample_padded_evenly,),
    "prompt_embeds": (t5_no_position_bias, t5_position_bias_in_first_block_only, t5_one_sided_buckets, t5_attention_scaled,
                      t5_padding_masked, t5_gelu_erf, t5_gate_exchanged, t5_norm_subtracts_mean, t5_no_final_norm,
                      t5_without_end_token),
    "pooled": (clip_without_causal_mask, clip_other_gelu, clip_tanh_gelu, clip_no_final_norm, clip_no_positions,
               clip_norms_exchanged),
}.items() for function in functions}
MISTAKES["clip_pooled_one_early"] = ("pooled", clip_pooled_at("before"))
MISTAKES["clip_pooled_at_last_position"] = ("pooled", clip_pooled_at("last"))
