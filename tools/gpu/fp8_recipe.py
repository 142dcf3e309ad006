"""The FP8 part of the published recipe, written anew: linear layers in e4m3 with row-wise scales, and attention for it.

Weights have a scale for each output channel, activations one for each row, found at run time; the product accumulates in f32
(with the fast accumulation of Hopper's tensor cores) and comes out in bf16. Library only.
"""

import contextlib

import torch
import torch.nn.functional as F
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel

E4M3 = torch.float8_e4m3fn
LARGEST = 448.0
PROBABILITY_SCALE = 256.0  # FlashAttention-3 shifts exp() by 2^8, so that small probabilities are not lost in e4m3
HEADS_AT_ONCE = 8  # rows x rows scores in f32 for so many heads: 0.7 GB at 4608 rows


def row_scales(values):
    return values.abs().amax(dim=1, keepdim=True).clamp(min=1e-12) / LARGEST


class Fp8Linear(nn.Linear):
    """A linear layer that keeps its weight in e4m3 only. It stays an nn.Linear, so that PEFT puts adapters around it."""

    @classmethod
    def from_linear(cls, linear):
        made = cls.__new__(cls)
        nn.Module.__init__(made)
        made.in_features, made.out_features, made.bias = linear.in_features, linear.out_features, linear.bias
        weight = linear.weight.float()
        scales = row_scales(weight)
        made.register_buffer("weight_fp8", (weight / scales).to(E4M3))
        made.register_buffer("weight_scales", scales.t().contiguous())
        # PEFT and diffusers ask the weight for shape, dtype and device: one number that says so.
        stand_in = torch.zeros(1, 1, device=linear.weight.device, dtype=linear.weight.dtype)
        made.weight = nn.Parameter(stand_in.expand(linear.out_features, linear.in_features), requires_grad=False)
        return made

    def forward(self, inputs):
        rows = inputs.reshape(-1, self.in_features).float()
        scales = row_scales(rows)
        quantized = (rows / scales).clamp(-LARGEST, LARGEST).to(E4M3)
        result = self.product(quantized, scales, inputs.dtype)
        return result[:rows.shape[0]].reshape(*inputs.shape[:-1], self.out_features)

    def product(self, quantized, scales, dtype):
        if quantized.device.type == "cpu":  # the same numbers the slow way
            exact = (quantized.float() * scales) @ (self.weight_fp8.float() * self.weight_scales.t()).t()
            return (exact if self.bias is None else exact + self.bias.float()).to(dtype)
        missing = -quantized.shape[0] % 16  # the product wants multiples of 16 rows
        if missing:
            quantized = F.pad(quantized.view(torch.uint8), (0, 0, 0, missing)).view(E4M3)
            scales = F.pad(scales, (0, 0, 0, missing), value=1.0)
        return torch._scaled_mm(quantized, self.weight_fp8.t(), scale_a=scales, scale_b=self.weight_scales, bias=self.bias,
                                out_dtype=dtype, use_fast_accum=True)


@torch.no_grad()
def quantize_blocks(transformer):
    """Replaces every linear layer of the blocks; embedders and output stay in bf16, as in the recipe."""
    for name, module in list(transformer.named_modules()):
        if isinstance(module, nn.Linear) and not isinstance(module, Fp8Linear) and "blocks." in name:
            transformer.set_submodule(name, Fp8Linear.from_linear(module))


# Attention: functions of query, key, value (B, rows, heads, d), as diffusers calls them.

def cudnn_attention(query, key, value, **_):
    """The recipe's bf16 kernel; whatever torch chooses where it is not there."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    choice = contextlib.nullcontext()
    if query.device.type == "cuda":
        choice = sdpa_kernel([SDPBackend.CUDNN_ATTENTION, SDPBackend.FLASH_ATTENTION, SDPBackend.MATH], set_priority=True)
    with choice:
        return F.scaled_dot_product_attention(query, key, value).transpose(1, 2)


def by_heads(one_group, query, key, value):
    """Applies a function of (heads, rows, d) to a few heads at a time: all scores at once would not fit."""
    result = torch.empty_like(query)
    for batch in range(query.shape[0]):
        for start in range(0, query.shape[2], HEADS_AT_ONCE):
            group = [x[batch, :, start:start + HEADS_AT_ONCE].transpose(0, 1) for x in (query, key, value)]
            result[batch, :, start:start + HEADS_AT_ONCE] = one_group(*group).transpose(0, 1).to(result.dtype)
    return result


def exact_attention(query, key, value, **_):
    """In the dtype of its inputs, f32 for the truth: two products around a softmax."""
    def group(q, k, v):
        scores = torch.bmm(q, k.transpose(1, 2)).mul_(q.shape[-1] ** -0.5)
        return torch.bmm(torch.softmax(scores, dim=-1), v)
    return by_heads(group, query, key, value)


def fa3_like_attention(query, key, value, **_):
    """What FlashAttention-3 computes on e4m3: q, k, v with a scale per tensor, probabilities cast to e4m3, bf16 output."""
    (q, q_scale), (k, k_scale), (v, v_scale) = (tensor_e4m3(x) for x in (query, key, value))
    factor = q_scale * k_scale * query.shape[-1] ** -0.5

    def group(q, k, v):
        scores = torch.bmm(q, k.transpose(1, 2)).mul_(factor)
        scores = torch.exp(scores.sub_(scores.amax(dim=-1, keepdim=True)))
        total = scores.sum(dim=-1, keepdim=True)
        scores = scores.mul_(PROBABILITY_SCALE).to(E4M3).float()
        return torch.bmm(scores, v).mul_(v_scale / PROBABILITY_SCALE).div_(total)

    with exact_products_of_e4m3():
        return by_heads(group, q, k, v).to(query.dtype)


def tensor_e4m3(values):
    """The values of e4m3 in f32, and the scale of the tensor."""
    values = values.float()
    scale = values.abs().amax().clamp(min=1e-12) / LARGEST
    return (values / scale).to(E4M3).float(), scale


@contextlib.contextmanager
def exact_products_of_e4m3():
    """TF32 holds every e4m3 number exactly and accumulates in f32: the same result, on tensor cores."""
    before = torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = True
    try:
        yield
    finally:
        torch.backends.cuda.matmul.allow_tf32 = before
