"""Random weights that make mistakes visible, and a fast way to write them. Library only; `random_flux.py` runs it.

The rules are those of tools/reference/tiny_models.py: strong modulation, embedders and output, sharp attention, random norm gains
and biases. Only one is left out: no hidden units are moved to where the forms of GELU differ, because that difference drowns in
bf16, and the enlarged columns that it needs are unlike any real weight. At 57 blocks the streams grow to a standard
deviation of some hundreds and stay finite, and rounding to bf16 moves the result by 1 %: the model is not chaotic.
"""

import json
import math
import pathlib
import re
import sys
import threading

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "reference"))
from tiny_models import BIAS, GAINS  # noqa: E402

BUFFER_BYTES = 64 << 20


def gain_of(component, name):
    """A linear weight has standard deviation gain / sqrt(inputs)."""
    return next(gain for pattern, gain in GAINS[component] if re.search(pattern, name))


def random_value(component, name, shape, generator):
    """One parameter in float32 on the generator's device."""
    options = dict(generator=generator, device=generator.device, dtype=torch.float32)
    if re.search(r"norm_(added_)?[qk]\.weight$", name):
        return torch.rand(shape, **options).mul_(1.2).add_(0.8)
    if "relative_attention_bias" in name:
        return torch.randn(shape, **options).mul_(2)
    if re.search(r"(token_embedding|shared|embed_tokens)\.weight$", name):
        return torch.randn(shape, **options)
    if "position_embedding" in name:
        return torch.randn(shape, **options).mul_(0.5)
    if len(shape) == 1 and name.endswith("weight"):
        return torch.rand(shape, **options).add_(0.5)
    if len(shape) == 1:
        return torch.randn(shape, **options).mul_(BIAS)
    return torch.randn(shape, **options).mul_(gain_of(component, name) / math.sqrt(math.prod(shape[1:])))


def split(shapes, shards):
    """Shards of about equal size: lists of (name, shape) in the order of the names."""
    total = sum(math.prod(shape) for shape in shapes.values())
    parts, used = [[] for _ in range(shards)], 0
    for name, shape in sorted(shapes.items()):
        parts[min(shards - 1, used * shards // total)].append((name, shape))
        used += math.prod(shape)
    return parts


def write_bf16(file, entries, value_of):
    """A safetensors file of bf16 tensors, made one by one: neither all tensors nor the file are ever in memory at once."""
    header, offset = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in entries:
        size = 2 * math.prod(shape)
        header[name] = {"dtype": "BF16", "shape": list(shape), "data_offsets": [offset, offset + size]}
        offset += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    buffer = torch.empty(BUFFER_BYTES if torch.cuda.is_available() else 0, dtype=torch.uint8, pin_memory=torch.cuda.is_available())
    with open(file, "wb", buffering=0) as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for name, shape in entries:
            write_bytes(out, value_of(name, shape).bfloat16().contiguous().view(torch.uint8).flatten(), buffer)


def write_bytes(out, data, buffer):
    """Writes a tensor of bytes, from a GPU through the pinned buffer."""
    if data.device.type == "cpu":
        return write_all(out, data.numpy())
    for start in range(0, data.numel(), buffer.numel()):
        part = data[start:start + buffer.numel()]
        buffer[:part.numel()].copy_(part)
        write_all(out, buffer[:part.numel()].numpy())


def write_all(out, array):
    """An unbuffered write may write less than asked."""
    view = memoryview(array)
    while len(view):
        view = view[out.write(view):]


def write_component(folder, stem, component, shapes, seed, device, shards=1):
    """All parameters of one network, each shard by a thread of its own with its own generator. Returns the bytes written."""
    parts, failures = split(shapes, shards), []
    names = [f"{stem}.safetensors"] if shards == 1 else [f"{stem}-{i + 1:05d}-of-{shards:05d}.safetensors" for i in range(shards)]

    def write(index):
        generator = torch.Generator(device).manual_seed(seed * 1000 + index)
        try:
            write_bf16(folder / names[index], parts[index], lambda name, shape: random_value(component, name, shape, generator))
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(shards)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]
    total = sum(2 * math.prod(shape) for shape in shapes.values())
    if shards > 1:
        weight_map = {name: names[i] for i, part in enumerate(parts) for name, _ in part}
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(weight_map.items()))}
        (folder / f"{stem}.safetensors.index.json").write_text(json.dumps(index))
    return total
