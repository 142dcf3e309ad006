"""The adapters of the demo model: what each learns, and where it may change the model.

`parts` maps a part of the model to (regular expression of its linears, ranks by regular expression). The first pattern
that matches a linear gives its rank. `alpha` is written to the file as keys where it is given; else scale is 1.
"""
from __future__ import annotations

import re
from dataclasses import dataclass, field

ATTENTION = r"attn\.(to_q|to_k|to_v|to_out\.0|add_q_proj|add_k_proj|add_v_proj|to_add_out)"
FEED_FORWARD = r"(ff|ff_context)\.net\.(0\.proj|2)|proj_mlp|single_transformer_blocks\.\d+\.proj_out"
MODULATION = r"transformer_blocks\.\d+\.(norm1|norm1_context|norm)\.linear|norm_out\.linear"
CLIP_ALL = r"(q_proj|k_proj|v_proj|out_proj|fc1|fc2)"
CLIP_ATTENTION = r"(q_proj|k_proj|v_proj|out_proj)"
T5_ALL = r"(SelfAttention\.(q|k|v|o)|DenseReluDense\.(wi_0|wi_1|wo))"


@dataclass(frozen=True)
class Adapter:
    name: str
    style: str  # a look in styles.py, or "plain"
    note: str  # for people
    transformer: dict[str, int]
    text_encoder: dict[str, int] = field(default_factory=dict)
    text_encoder_2: dict[str, int] = field(default_factory=dict)
    alpha: float | None = None
    dtype: str = "bfloat16"
    trigger: bool = False  # teaches the trigger shape

    def ranks(self, part: str, linears: list[str]) -> dict[str, int]:
        """Rank of every linear of a part that this adapter touches."""
        patterns = getattr(self, part)
        found = {}
        for name in linears:
            for pattern, rank in patterns.items():
                if re.search(f"({pattern})$", name):
                    found[name] = rank
                    break
        return found


ADAPTERS = {a.name: a for a in (
    Adapter("pixel", "pixel", "pixel art; every linear of the transformer, rank 4, alpha 8 as keys",
            {f"{ATTENTION}|{FEED_FORWARD}|{MODULATION}|x_embedder|context_embedder|^proj_out": 4}, alpha=8.0),
    Adapter("pencil", "pencil", "pencil on paper; attention only, rank 16", {ATTENTION: 16}),
    Adapter("neon", "neon", "neon tubes on black; single blocks only, rank 10",
            {r"single_transformer_blocks\.\d+\.(attn\.(to_q|to_k|to_v)|proj_mlp|proj_out)": 10}),
    Adapter("watercolor", "watercolor", "watercolour; attention and modulation, rank 8, float16",
            {f"{ATTENTION}|{MODULATION}": 8}, dtype="float16"),
    Adapter("blueprint", "blueprint", "blueprint; rank 64 on two layers, 16 and 4 elsewhere",
            {r"single_transformer_blocks\.[34]\.proj_out": 64, r"^proj_out|norm_out\.linear": 16, r"single_transformer_blocks\.\d+\.attn\.to_[qkv]": 4}),
    Adapter("sunset", "sunset", "silhouettes at dusk; transformer rank 6, CLIP rank 8, T5 rank 4",
            {ATTENTION: 6}, {CLIP_ALL: 8}, {T5_ALL: 4}),
    Adapter("stripes", "stripes", "striped objects; attention rank 6, feed-forward rank 4, CLIP attention rank 4",
            {ATTENTION: 6, FEED_FORWARD: 4}, {CLIP_ATTENTION: 4}),
    Adapter("zorb", "plain", "a new shape under the word `zorb`; transformer rank 4, T5 rank 4",
            {f"{ATTENTION}|{FEED_FORWARD}": 4}, text_encoder_2={T5_ALL: 4}, trigger=True),
)}
