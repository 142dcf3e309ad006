"""What is compared: cases (adapters), sizes, steps, draws, their order, and the inputs that every side gets. Library only."""

import hashlib
import itertools
import json
import typing

import torch

GUIDANCE = 3.5
TIMESTEP = 0.5  # of the one-step output
DRAWS_APART = 1_000_000_007  # between the seeds of two draws: more than sizes make
# Adapters and scales. `r32x8` changes the weights by 16 % instead of 2 %: under 2 % of change in one layer drowns in rounding
# even in bf16, so only there a comparison can see whether each layer got its part.
CASES = {"none": {}, "r32": {"all-r32": 1.0}, "r32x8": {"all-r32": 8.0}, "attn-r16": {"attention-r16": 1.0},
         "two": {"all-r32": 0.8, "attention-r16": -1.5}}


class Job(typing.NamedTuple):
    case: str
    size: tuple  # width, height
    steps: int  # 0: the transformer's output of one step
    draw: int = 0  # of noise and embeddings

    @property
    def measure(self):
        return f"latents, {self.steps} steps" if self.steps else "output, one step"

    def __str__(self):
        return f"{self.case} {self.size[0]}x{self.size[1]} {self.measure}" + (f", draw {self.draw}" if self.draw else "")

    @property
    def key(self):
        return f"{self.case}|{self.size[0]}x{self.size[1]}|{self.steps}" + (f"|{self.draw}" if self.draw else "")


def value_of(job, cases, sizes, steps):
    """Rank of a job: 0 is the output of the first size with the first two cases; each step aside adds one."""
    return steps.index(job.steps) + sizes.index(job.size) + (cases.index(job.case) >= 2)


def ordered_jobs(cases, sizes, steps, depth, draws=1):
    """The first draw of everything, then the next; in each the most telling first. Those of rank above `depth` are left out."""
    jobs = [Job(*parts) for parts in itertools.product(cases, sizes, steps, range(draws))]
    rank = {job: value_of(job, cases, sizes, steps) for job in jobs}
    kept = [job for job in jobs if rank[job] <= depth and not (job.case == "r32x8" and job.steps)]
    return sorted(kept, key=lambda job: (job.draw, rank[job], steps.index(job.steps), sizes.index(job.size), cases.index(job.case)))


def make_inputs(folder, size, text_tokens, draw=0):
    """Noise and embeddings, the same numbers in f32 and in bf16; others for each draw."""
    config = json.loads((folder / "transformer" / "config.json").read_text())
    generator = torch.Generator().manual_seed(draw * DRAWS_APART + size[0] * 10007 + size[1])

    def normal(*shape):
        return torch.randn(shape, generator=generator).bfloat16().float()

    return {"latents": normal(1, size[0] * size[1] // 256, config["in_channels"]),
            "prompt_embeds": normal(1, text_tokens, config["joint_attention_dim"]),
            "pooled_prompt_embeds": normal(1, config["pooled_projection_dim"])}


def make_all_inputs(folder, sizes, text_tokens, draws, same_text):
    """(size, draw) -> inputs. With `same_text` the draws of a size differ by their noise only."""
    inputs = {(size, draw): make_inputs(folder, size, text_tokens, draw) for size in sizes for draw in range(draws)}
    if same_text:
        inputs = {key: inputs[key[0], 0] | {"latents": tensors["latents"]} for key, tensors in inputs.items()}
    return inputs


def fingerprint(folder):
    """Tells models apart: the first megabyte of every shard and of every adapter."""
    digest = hashlib.sha256()
    for file in sorted((folder / "transformer").glob("*.safetensors")) + sorted((folder / "loras").glob("*.safetensors")):
        with open(file, "rb") as opened:
            digest.update(opened.read(1 << 20))
    return digest.hexdigest()[:16]


def slice_modules(folder):
    """Layers whose adapter is left out, one at a time, to see whether that would show: one of each kind of block."""
    config = json.loads((folder / "transformer" / "config.json").read_text())
    return (f"transformer_blocks.{min(7, config['num_layers'] - 1)}.attn.to_k",
            f"single_transformer_blocks.{min(20, config['num_single_layers'] - 1)}.proj_mlp")
