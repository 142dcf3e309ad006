"""What all training scripts share: one or several GPUs, flat parameters, a schedule by time."""
from __future__ import annotations

import os
import random
import time

import numpy as np
import torch
import torch.distributed as dist


def seconds_for(minutes: float, until: float | None) -> float:
    """A time box: so many minutes, or up to a moment of the clock (seconds since 1970)."""
    return minutes * 60 if until is None else max(until - time.time(), 1.0)


class Team:
    """The processes torchrun started, or this one alone."""

    def __init__(self):
        self.rank, self.size = int(os.environ.get("RANK", 0)), int(os.environ.get("WORLD_SIZE", 1))
        cuda = torch.cuda.is_available()
        self.device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", 0))) if cuda else torch.device("cpu")
        if cuda:
            torch.cuda.set_device(self.device)
            torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
            torch.backends.cudnn.benchmark = True
            torch.backends.cuda.enable_cudnn_sdp(False)  # cuDNN's attention fails here on heads of 32
        if self.size > 1 and not dist.is_initialized():
            dist.init_process_group("nccl" if cuda else "gloo")

    @property
    def leads(self) -> bool:
        return self.rank == 0

    def mean(self, tensor: torch.Tensor) -> None:
        if self.size > 1:
            dist.all_reduce(tensor)
            tensor /= self.size

    def seed(self, seed: int) -> None:
        value = seed * 1000 + self.rank
        random.seed(value), np.random.seed(value), torch.manual_seed(value)

    def say(self, *words) -> None:
        if self.leads:
            print(*words, flush=True)

    def autocast(self):
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.device.type == "cuda")

    def close(self) -> None:
        if self.size > 1:
            dist.barrier()
            dist.destroy_process_group()


def _aligned(count: int) -> int:
    """Room for a tensor that starts on 256 bytes: compiled kernels count on aligned addresses."""
    return (count + 63) // 64 * 64


def orthogonalized(matrices: torch.Tensor) -> torch.Tensor:
    """The nearest matrices with orthonormal rows or columns, nearly: five Newton-Schulz steps. (N, rows, columns)."""
    tall = matrices.shape[1] > matrices.shape[2]
    x = (matrices.mT if tall else matrices).to(torch.bfloat16 if matrices.is_cuda else matrices.dtype)
    x = x / (x.norm(dim=(1, 2), keepdim=True) + 1e-7)
    for _ in range(5):
        gram = x @ x.mT
        x = 3.4445 * x + (-4.7750 * gram + 2.0315 * gram @ gram) @ x
    return (x.mT if tall else x).to(matrices.dtype)


class Muon:
    """Momentum whose direction is orthogonalized (K. Jordan et al., 2024): for the same loss the transformer needs a
    quarter of Adam's steps.

    Works in place on views of the flat weights and gradients, matrices of one shape at a time; filters are flattened.
    """

    def __init__(self, weights: list[torch.Tensor], gradients: list[torch.Tensor], momentum: float = 0.95):
        self.momentum, self.groups = momentum, {}
        for weight, gradient in zip(weights, gradients):
            weight, gradient = weight.flatten(1), gradient.flatten(1)
            self.groups.setdefault(tuple(weight.shape), []).append((weight, gradient))
        self.velocity = {shape: torch.zeros(len(pairs), *shape, device=pairs[0][0].device) for shape, pairs in self.groups.items()}

    @torch.no_grad()
    def step(self, rate: float, decay: float) -> None:
        for shape, pairs in self.groups.items():
            weights, gradient = [w for w, _ in pairs], torch.stack([g for _, g in pairs])
            velocity = self.velocity[shape].lerp_(gradient, 1 - self.momentum)
            update = orthogonalized(gradient.lerp(velocity, self.momentum)) * (max(shape) ** 0.5 * rate)
            torch._foreach_mul_(weights, 1 - rate * decay)
            torch._foreach_sub_(weights, list(update.unbind()))


class FlatTrainer:
    """AdamW (and Muon for `matrices`), clipping and a moving average on one flat tensor that all parameters are views of.

    The learning rate follows the clock: warm-up, flat, then linear to a twentieth over the last part of `seconds`.
    """

    def __init__(self, modules, team: Team, seconds: float, peak: float, warmup: int = 150, decay: float = 0.35,
                 average: float = 0.999, betas=(0.9, 0.98), max_steps: int | None = None, matrices=()):
        parameters = dict.fromkeys(p for m in modules for p in m.parameters() if p.requires_grad)
        self.parameters = list(dict.fromkeys([*matrices, *parameters]))
        total = sum(_aligned(p.numel()) for p in self.parameters)
        first_adam = sum(_aligned(p.numel()) for p in matrices)
        device = team.device
        self.flat = torch.zeros(total, device=device)
        self.grad = torch.zeros(total + 1, device=device)  # the last element carries the clock
        offset = 0
        with torch.no_grad():
            for p in self.parameters:
                view = self.flat[offset:offset + p.numel()].view_as(p)
                view.copy_(p)
                p.data, p.grad = view.data, self.grad[offset:offset + p.numel()].view_as(p)
                offset += _aligned(p.numel())
        if team.size > 1:
            dist.broadcast(self.flat, 0)
        self.average = self.flat.clone()
        self.keep, self.team, self.seconds, self.peak, self.warmup, self.decay = average, team, seconds, peak, warmup, decay
        self.max_steps = max_steps
        rest = torch.nn.Parameter(self.flat[first_adam:])
        rest.grad = self.grad[first_adam:-1]
        self.optimizer = torch.optim.AdamW([rest], lr=peak, betas=betas, weight_decay=0.01, fused=device.type == "cuda")
        self.muon = Muon([p.data for p in matrices], [p.grad for p in matrices])
        self.steps, self.done, self.start = 0, 0.0, time.time()

    def rate(self) -> float:
        return self.peak * min((self.steps + 1) / self.warmup, 1.0) * max(min((1 - self.done) / self.decay, 1.0), 0.05)

    def step(self, loss: torch.Tensor) -> bool:
        """One update; False once the time is over (at the same step on every process)."""
        loss.backward()
        self.grad[-1] = (time.time() - self.start) / self.seconds
        self.team.mean(self.grad)
        if self.steps % 10 == 9:
            self.done = float(self.grad[-1])
        gradient = self.grad[:-1]
        gradient.mul_((1.0 / (gradient.norm() + 1e-6)).clamp(max=1.0))
        self.optimizer.param_groups[0]["lr"] = self.rate()
        self.optimizer.step()
        self.muon.step(self.rate(), decay=0.01)
        self.grad.zero_()
        self.steps += 1
        keep = min(self.keep, (1 + self.steps) / (10 + self.steps))
        self.average.lerp_(self.flat, 1 - keep)
        return self.done < 1 and (self.max_steps is None or self.steps < self.max_steps)

    def swap(self) -> None:
        """Exchange weights and their moving average (and back again)."""
        held = self.flat.clone()
        self.flat.copy_(self.average)
        self.average.copy_(held)

    def state(self) -> dict:
        return {"flat": self.flat, "average": self.average, "optimizer": self.optimizer.state_dict(), "muon": self.muon.velocity, "steps": self.steps}

    def restore(self, state: dict) -> None:
        self.flat.copy_(state["flat"])
        self.average.copy_(state["average"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.muon.velocity = state["muon"]
        self.steps = state["steps"]
