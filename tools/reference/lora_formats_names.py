"""The modules of the tiny model of tests/lora/tiny_model.h: sizes, and diffusers' names for parts of the original's."""

from collections import namedtuple

H, M = 16, 64
Part = namedtuple("Part", "diffusers part exchange", defaults=("all", False))

MODULES = {  # original name -> (out, in)
    "img_in": (H, 8), "txt_in": (H, 12), "time_in.in_layer": (H, 256), "time_in.out_layer": (H, H),
    "guidance_in.in_layer": (H, 256), "guidance_in.out_layer": (H, H), "vector_in.in_layer": (H, 10),
    "vector_in.out_layer": (H, H), "final_layer.linear": (8, H), "final_layer.adaLN_modulation.1": (2 * H, H),
}
for n in range(2):
    for s in ("img", "txt"):
        MODULES |= {f"double_blocks.{n}.{s}_mod.lin": (6 * H, H), f"double_blocks.{n}.{s}_attn.qkv": (3 * H, H),
                    f"double_blocks.{n}.{s}_attn.proj": (H, H), f"double_blocks.{n}.{s}_mlp.0": (M, H),
                    f"double_blocks.{n}.{s}_mlp.2": (H, M)}
    MODULES |= {f"single_blocks.{n}.modulation.lin": (3 * H, H), f"single_blocks.{n}.linear1": (3 * H + M, H),
                f"single_blocks.{n}.linear2": (H, H + M)}

# Those to which DoRA refers.
BIG = ("double_blocks.0.img_attn.qkv", "double_blocks.1.txt_attn.qkv", "double_blocks.0.img_attn.proj",
       "single_blocks.1.linear1", "final_layer.adaLN_modulation.1")
NORMS = ["double_blocks.0.img_attn.norm.query_norm.scale", "double_blocks.1.txt_attn.norm.key_norm.scale",
         "single_blocks.1.norm.key_norm.scale"]

CLIP = {"text_model.encoder.layers.1.mlp.fc1": (14, 10), "text_model.encoder.layers.0.self_attn.q_proj": (10, 10),
        "text_model.encoder.layers.1.self_attn.out_proj": (10, 10)}
T5 = {"encoder.block.1.layer.1.DenseReluDense.wi_0": (14, 12), "encoder.block.0.layer.0.SelfAttention.k": (12, 12),
      "encoder.block.1.layer.1.DenseReluDense.wo": (12, 14)}

OUTSIDE = {
    "img_in": "x_embedder", "txt_in": "context_embedder", "time_in.in_layer": "time_text_embed.timestep_embedder.linear_1",
    "time_in.out_layer": "time_text_embed.timestep_embedder.linear_2",
    "guidance_in.in_layer": "time_text_embed.guidance_embedder.linear_1",
    "guidance_in.out_layer": "time_text_embed.guidance_embedder.linear_2",
    "vector_in.in_layer": "time_text_embed.text_embedder.linear_1",
    "vector_in.out_layer": "time_text_embed.text_embedder.linear_2", "final_layer.linear": "proj_out",
}
DOUBLE = {"img_mod.lin": "norm1.linear", "txt_mod.lin": "norm1_context.linear", "img_attn.proj": "attn.to_out.0",
          "txt_attn.proj": "attn.to_add_out", "img_mlp.0": "ff.net.0.proj", "img_mlp.2": "ff.net.2",
          "txt_mlp.0": "ff_context.net.0.proj", "txt_mlp.2": "ff_context.net.2"}


def diffusers_parts(name):
    """diffusers' modules of an original one, in the order of its rows."""
    if name in OUTSIDE:
        return [Part(OUTSIDE[name])]
    if name == "final_layer.adaLN_modulation.1":
        return [Part("norm_out.linear", exchange=True)]
    kind, block, rest = name.split(".", 2)
    if kind == "double_blocks":
        start = f"transformer_blocks.{block}."
        if rest == "img_attn.qkv":
            return [Part(f"{start}attn.to_{p}", p) for p in "qkv"]
        if rest == "txt_attn.qkv":
            return [Part(f"{start}attn.add_{p}_proj", p) for p in "qkv"]
        return [Part(start + DOUBLE[rest])]
    start = f"single_transformer_blocks.{block}."
    if rest == "linear1":
        return [Part(f"{start}attn.to_{p}", p) for p in "qkv"] + [Part(start + "proj_mlp", "mlp")]
    return [Part(start + {"linear2": "proj_out", "modulation.lin": "norm.linear"}[rest])]


def rows(name, part):
    """(first row, count) of a part of an original module."""
    out = MODULES[name][0]
    return {"all": (0, out), "q": (0, H), "k": (H, H), "v": (2 * H, H), "mlp": (3 * H, out - 3 * H)}[part]
