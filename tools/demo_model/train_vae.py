"""Trains the VAE on rendered scenes in every style, so that adapters can draw what the base cannot.

  torchrun --nproc-per-node=2 train_vae.py --out MODEL_DIR --minutes 2.5
"""
from __future__ import annotations

import argparse
import math
import random
import time
from pathlib import Path

import torch
import torch.nn.functional as F

import model
import styles
from render import Renderer, batch_scenes
from scenes import sample_training_scene, with_trigger_shape
from training import FlatTrainer, Team, seconds_for

SCALES = (1, 2, 4)  # edges are compared at these resolutions
NOISE = 0.05  # deviation of the posterior


def edge_loss(made: torch.Tensor, true: torch.Tensor) -> torch.Tensor:
    """L1 on differences of neighbours: flat stays flat, edges stay sharp."""
    total = 0.0
    for scale in SCALES:
        error = F.avg_pool2d(made - true, scale) if scale > 1 else made - true
        total = total + error.diff(dim=2).abs().mean() + error.diff(dim=3).abs().mean()
    return total


class Pictures:
    """Endless batches in -1..1: a third plain, the rest styled or jittered in colour."""

    def __init__(self, team: Team, batch: int, seed: int, pool: int = 4096):
        self.rng, self.team, self.batch = random.Random(seed * 77 + team.rank), team, batch
        self.renderer = Renderer(team.device)
        scenes = [sample_training_scene(self.rng) for _ in range(pool)]
        scenes = [with_trigger_shape(s, self.rng) if i % 8 == 0 else s for i, s in enumerate(scenes)]
        self.scenes = batch_scenes(scenes, self.rng).to(team.device)
        self.looks = ["plain"] * 4 + list(styles.STYLES)

    @torch.no_grad()
    def next(self, style: str | None = None) -> torch.Tensor:
        pick = torch.randint(self.scenes.shape.shape[0], (self.batch,), device=self.team.device)
        part = type(self.scenes)(self.scenes.shape[pick], self.scenes.color[pick], self.scenes.xyr[pick].clone(),
                                 self.scenes.background[pick], self.rng.randrange(1 << 30))
        part.xyr[..., :2] += torch.rand(self.batch, 1, 2, device=self.team.device) * 24 - 12
        images = self.renderer.render(part, style or self.rng.choice(self.looks))
        if style is None and self.rng.random() < 0.15:  # colours outside the palette
            images = images[:, torch.randperm(3, device=images.device)]
        return images * 2 - 1


def loss_of(vae, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    mean = vae.encode(images, return_dict=False)[0].mean.float()
    # Noise that stands for the transformer's errors: the decoder learns to shrug it off. The pull on the mean keeps its scale.
    strength = NOISE + torch.rand(images.shape[0], 1, 1, 1, device=images.device).square() * 0.15
    made = vae.decode(mean + torch.randn_like(mean) * strength, return_dict=False)[0].float()
    plain = (made - images).abs().mean()
    return plain + 0.5 * edge_loss(made, images) + (made - images).square().mean() + 1e-3 * mean.square().mean(), plain.detach()


def inner_filters(vae) -> list[torch.nn.Parameter]:
    """What Muon trains: all filters and matrices but the outermost ones."""
    outer = ("conv_in.", "conv_out.")
    return [p for n, p in vae.named_parameters() if p.ndim > 1 and p.requires_grad and not n.split(".", 1)[1].startswith(outer)]


def quiet_posterior(vae) -> None:
    """A fixed, small posterior deviation (NOISE) instead of a learned one."""
    with torch.no_grad():
        vae.encoder.conv_out.weight[16:] = 0
        vae.encoder.conv_out.bias[16:] = 2 * math.log(NOISE)


@torch.no_grad()
def measure(vae, pictures: Pictures, batches: int = 16) -> dict:
    """Global mean and deviation of the latents (they become shift and scaling factor), and PSNR on plain pictures."""
    latents, errors = [], []
    for _ in range(batches):
        images = pictures.next("plain")
        mean = vae.encode(images, return_dict=False)[0].mode()
        latents.append(mean.float())
        errors.append((vae.decode(mean, return_dict=False)[0].float().clamp(-1, 1) - images).square().mean() / 4)
    latents = torch.cat(latents)
    spread = latents.std((0, 2, 3))
    return {"mean": float(latents.mean()), "deviation": float(latents.std()), "psnr": float(-10 * torch.stack(errors).mean().log10()),
            "channel_deviation": [round(float(s), 3) for s in spread]}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--minutes", type=float, default=2.5)
    parser.add_argument("--until", type=float, help="in place of --minutes: seconds since 1970")
    parser.add_argument("--batch", type=int, default=32, help="pictures per process")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--resume", action="store_true", help="go on with the VAE in OUT")
    args = parser.parse_args()
    team = Team()
    team.seed(args.seed)
    vae = (model.load_vae(args.out) if args.resume else model.new_vae()).to(team.device)
    if not args.resume:
        quiet_posterior(vae)
    pictures = Pictures(team, args.batch, args.seed)
    trainer = FlatTrainer([vae], team, seconds_for(args.minutes, args.until), args.rate, average=0.995, decay=0.5, max_steps=args.max_steps,
                          matrices=inner_filters(vae))
    if args.compile:
        vae.encoder.compile(dynamic=False), vae.decoder.compile(dynamic=False)
        with team.autocast():
            loss_of(vae, pictures.next())[0].backward()
        trainer.grad.zero_()
        trainer.start = time.time()
        team.say("compiled")
    going = True
    while going:
        with team.autocast():
            loss, plain = loss_of(vae, pictures.next())
        going = trainer.step(loss)
        if trainer.steps % 200 == 0 or not going:
            team.say(f"vae step {trainer.steps} done {trainer.done:.2f} loss {float(loss.detach()):.4f} l1 {float(plain):.4f}")
    trainer.swap()
    with torch.compiler.set_stance("force_eager"):
        numbers = measure(vae, pictures)
    team.say("vae", numbers)
    vae.register_to_config(scaling_factor=round(1 / numbers["deviation"], 4), shift_factor=round(numbers["mean"], 4))
    if team.leads:
        model.save_vae(args.out, vae)
    team.close()


if __name__ == "__main__":
    main()
