"""Latents, noise levels and batched sampling: what training and evaluation share."""
from __future__ import annotations

import math

import torch
from diffusers import FlowMatchEulerDiscreteScheduler

from model import SCHEDULER, Demo

_SHIFT = 0.5  # the scheduler's mu at 256 image tokens


def pack(latents: torch.Tensor) -> torch.Tensor:
    """(B, 16, 32, 32) -> (B, 256, 64): two by two latents are one token."""
    b, c, h, w = latents.shape
    return latents.view(b, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(b, h * w // 4, c * 4)


def unpack(tokens: torch.Tensor, side: int = 32) -> torch.Tensor:
    b, _, d = tokens.shape
    return tokens.view(b, side // 2, side // 2, d // 4, 2, 2).permute(0, 3, 1, 4, 2, 5).reshape(b, d // 4, side, side)


def position_ids(text_tokens: int, device, side: int = 16) -> tuple[torch.Tensor, torch.Tensor]:
    """(text_tokens, 3) zeros and (side * side, 3) of (0, row, column)."""
    image = torch.zeros(side, side, 3, device=device)
    image[..., 1] += torch.arange(side, device=device)[:, None]
    image[..., 2] += torch.arange(side, device=device)[None, :]
    return torch.zeros(text_tokens, 3, device=device), image.view(-1, 3)


def random_sigmas(count: int, device) -> torch.Tensor:
    """Noise levels for training: logit-normal, moved as the scheduler moves its own, with some uniform ones."""
    u = torch.sigmoid(torch.randn(count, device=device))
    u = torch.where(torch.rand(count, device=device) < 0.25, torch.rand(count, device=device), u).clamp(1e-4, 1 - 1e-4)
    shift = math.exp(_SHIFT)
    return shift * u / (1 + (shift - 1) * u)


def flow_loss(transformer, latents: torch.Tensor, pooled: torch.Tensor, context: torch.Tensor) -> torch.Tensor:
    """Mean squared error of the predicted velocity (noise - latents) on packed latents (B, 256, 64)."""
    count, device = latents.shape[0], latents.device
    noise = torch.randn_like(latents)
    sigma = random_sigmas(count, device)
    noisy = torch.lerp(latents, noise, sigma[:, None, None])
    text_ids, image_ids = position_ids(context.shape[1], device)
    guidance = torch.rand(count, device=device) * 4 + 1  # the model learns that guidance changes nothing
    velocity = transformer(
        hidden_states=noisy, encoder_hidden_states=context, pooled_projections=pooled, timestep=sigma, guidance=guidance,
        txt_ids=text_ids, img_ids=image_ids, return_dict=False)[0]
    return ((velocity.float() - (noise - latents)) ** 2).mean()


@torch.no_grad()
def sample(demo: Demo, clip_ids, t5_ids, seed: int, steps: int = 20, guidance: float = 3.5) -> torch.Tensor:
    """Pictures (B, 3, 256, 256) in 0..1, by the same schedule as FluxPipeline."""
    device = t5_ids.device
    count = t5_ids.shape[0]
    scheduler = FlowMatchEulerDiscreteScheduler(**{k: v for k, v in SCHEDULER.items() if not k.startswith("_")})
    scheduler.set_timesteps(sigmas=torch.linspace(1, 1 / steps, steps).tolist(), mu=_SHIFT, device=device)
    generator = torch.Generator().manual_seed(seed)
    latents = torch.randn(count, 256, 64, generator=generator).to(device)
    pooled, context = demo.encode(clip_ids, t5_ids)
    text_ids, image_ids = position_ids(t5_ids.shape[1], device)
    for timestep in scheduler.timesteps:
        velocity = demo.transformer(
            hidden_states=latents, encoder_hidden_states=context, pooled_projections=pooled,
            timestep=(timestep / 1000).expand(count), guidance=torch.full((count,), guidance, device=device),
            txt_ids=text_ids, img_ids=image_ids, return_dict=False)[0]
        latents = scheduler.step(velocity.float(), timestep, latents, return_dict=False)[0]
    return decode(demo.vae, unpack(latents))


@torch.no_grad()
def decode(vae, latents: torch.Tensor) -> torch.Tensor:
    parts = [vae.decode(p / vae.config.scaling_factor + vae.config.shift_factor, return_dict=False)[0] for p in latents.split(64)]
    return (torch.cat(parts).float() / 2 + 0.5).clamp(0, 1)


@torch.no_grad()
def encode_images(vae, images: torch.Tensor) -> torch.Tensor:
    """Pictures in 0..1 to normalised latents (B, 16, 32, 32), without sampling noise."""
    mean = vae.encode(images * 2 - 1, return_dict=False)[0].mode().float()
    return (mean - vae.config.shift_factor) * vae.config.scaling_factor
