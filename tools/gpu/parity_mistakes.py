"""Mistakes planted in diffusers at full size: what a comparison must be able to see. Library only.

Each is a context in which the pipeline is wrong; leaving it restores every bit. Weights change in place and back, because a
second copy of the transformer has no room beside everything else.
"""

import contextlib

import torch


def blocks(transformer):
    return [*transformer.transformer_blocks, *transformer.single_transformer_blocks]


@contextlib.contextmanager
def changed(changes):
    """changes: (parameter, new value)."""
    kept = [(parameter, parameter.data) for parameter, _ in changes]
    for parameter, value in changes:
        parameter.data = value
    try:
        yield
    finally:
        for parameter, value in kept:
            parameter.data = value


@contextlib.contextmanager
def no_rope(transformer):
    rope = transformer.pos_embed
    original = rope.forward

    def forward(ids):
        cosine, sine = original(ids)
        return torch.ones_like(cosine), torch.zeros_like(sine)

    rope.forward = forward
    try:
        yield
    finally:
        del rope.forward


def base(linear):
    return linear.get_base_layer() if hasattr(linear, "get_base_layer") else linear


def exchanged(linear, size):
    """The first two chunks of `size` rows change places."""
    linear = base(linear)
    order = torch.cat([torch.arange(size, 2 * size), torch.arange(size), torch.arange(2 * size, linear.out_features)])
    return changed([(linear.weight, linear.weight.data[order]), (linear.bias, linear.bias.data[order])])


def shift_and_scale_of_one_block(transformer):
    index = min(7, len(transformer.transformer_blocks) - 1)
    return exchanged(transformer.transformer_blocks[index].norm1.linear, transformer.inner_dim)


@contextlib.contextmanager
def shift_and_scale_of_single_blocks(transformer):
    """In all of them: one of 38 moves the result by less than ten roundings to bf16."""
    with contextlib.ExitStack() as stack:
        for block in transformer.single_transformer_blocks:
            stack.enter_context(exchanged(block.norm.linear, transformer.inner_dim))
        yield


def uniform_attention(transformer):
    gains = []
    for block in blocks(transformer):
        for norm in (block.attn.norm_q, getattr(block.attn, "norm_added_q", None)):
            if norm is not None:
                gains.append((norm.weight, torch.zeros_like(norm.weight.data)))
    return changed(gains)


MISTAKES = (no_rope, uniform_attention, shift_and_scale_of_one_block, shift_and_scale_of_single_blocks)
