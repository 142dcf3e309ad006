"""Trains the adapters with PEFT on the frozen base and writes them in the diffusers file format.

With several processes (torchrun) the adapters are dealt out among them; each is trained by one process.

  torchrun --nproc-per-node=2 train_lora.py --model MODEL_DIR --minutes-each 0.8 [--only pixel,neon]
"""
from __future__ import annotations

import argparse
import json
import random
import re
import time
from pathlib import Path

import peft
import torch
from safetensors.torch import load_file, save_file

import model
from adapters import ADAPTERS, Adapter
from render import Renderer, SceneBatch, batch_scenes
from sampling import encode_images, flow_loss, pack
from scenes import phrase, sample_training_scene, with_trigger_shape
from training import FlatTrainer, Team, seconds_for

PARTS = ("transformer", "text_encoder", "text_encoder_2")
TRIGGER_SHARE = 0.7  # the rest are plain scenes, so that the other shapes stay what they are


def linears(module: torch.nn.Module) -> list[str]:
    return [name for name, m in module.named_modules() if isinstance(m, torch.nn.Linear)]


def inject(demo: model.Demo, adapter: Adapter) -> None:
    """Freeze the base and add the adapter's trainable low-rank pairs, by PEFT."""
    for part in PARTS:
        module = getattr(demo, part)
        module.requires_grad_(False)
        ranks = adapter.ranks(part, linears(module))
        if not ranks:
            continue
        scale = (adapter.alpha or 0) / max(ranks.values()) if adapter.alpha else 1.0
        config = peft.LoraConfig(
            r=max(ranks.values()), lora_alpha=max(ranks.values()) * scale, target_modules="|".join(map(re.escape, ranks)), lora_dropout=0.0,
            rank_pattern={f"^{name}$".replace(".", r"\."): rank for name, rank in ranks.items()},
            alpha_pattern={f"^{name}$".replace(".", r"\."): rank * scale for name, rank in ranks.items()})
        peft.inject_adapter_in_model(config, module)


def file_state(demo: model.Demo, adapter: Adapter) -> dict[str, torch.Tensor]:
    state = {}
    for part in PARTS:
        module = getattr(demo, part)
        ranks = adapter.ranks(part, [n.removesuffix(".base_layer") for n in linears(module)])
        if not ranks:
            continue
        for name, value in peft.get_peft_model_state_dict(module).items():
            if part == "text_encoder" and not name.startswith("text_model."):
                name = "text_model." + name
            state[f"{part}.{name}"] = value.detach().cpu().to(getattr(torch, adapter.dtype)).contiguous()
            if adapter.alpha and name.endswith("lora_A.weight"):
                state[f"{part}.{name.removesuffix('lora_A.weight')}alpha"] = torch.tensor(float(adapter.alpha))
    return state


def save_adapter(folder: Path, demo: model.Demo, adapter: Adapter, steps: int) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{adapter.name}.safetensors"
    notes = {"format": "pt", "base_model": "fluxswap demo", "name": adapter.name, "description": adapter.note, "steps": str(steps)}
    save_file(file_state(demo, adapter), path, metadata=notes)
    path.chmod(0o644)
    return path


@torch.no_grad()
def apply_file(demo: model.Demo, path: Path, weight: float = 1.0) -> None:
    """Merge an adapter file into a model's weights: W += weight * alpha / rank * B A."""
    state = {k: v.float() for k, v in load_file(path).items()}
    for key in (k for k in state if k.endswith(".lora_A.weight")):
        stem = key.removesuffix(".lora_A.weight")
        part, name = stem.split(".", 1)
        module = getattr(demo, part)
        if part == "text_encoder" and not any(n.startswith("text_model.") for n, _ in module.named_modules()):
            name = name.removeprefix("text_model.")
        down, up = state[key], state[stem + ".lora_B.weight"]
        scale = weight * float(state[stem + ".alpha"]) / down.shape[0] if stem + ".alpha" in state else weight
        target = module.get_submodule(name).weight
        target += (scale * up @ down).to(target)


class StyledPool:
    """A fixed set of styled latents with the ids of their prompts."""

    def __init__(self, team: Team, words: model.Words, vae, adapter: Adapter, size: int, seed: int, block: int = 128):
        rng = random.Random(seed)
        renderer = Renderer(team.device)
        latents, clip, t5 = [], [], []
        for _ in range(max(size // block, 1)):
            scenes = [sample_training_scene(rng) for _ in range(min(block, size))]
            if adapter.trigger:
                scenes = [with_trigger_shape(s, rng) if rng.random() < TRIGGER_SHARE else s for s in scenes]
            ids = words([phrase(s, rng) for s in scenes])
            images = renderer.render(batch_scenes(scenes, rng), adapter.style)
            with team.autocast(), torch.no_grad():
                latents.append(pack(encode_images(vae, images)).bfloat16())
            clip.append(ids[0]), t5.append(ids[1])
        self.latents, self.clip, self.t5 = torch.cat(latents), torch.cat(clip).to(team.device), torch.cat(t5).to(team.device)
        self.conditions = None

    def encode_once(self, demo: model.Demo) -> None:
        """For adapters that leave the text encoders alone: keep what they say about every prompt."""
        with torch.no_grad():
            made = [demo.encode(c, t) for c, t in zip(self.clip.split(512), self.t5.split(512))]
        self.conditions = torch.cat([m[0] for m in made]).float(), torch.cat([m[1] for m in made]).bfloat16()

    def draw(self, demo: model.Demo, count: int, t5_length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        pick = torch.randint(self.latents.shape[0], (count,), device=self.latents.device)
        if self.conditions and t5_length == self.t5.shape[1]:
            pooled, context = self.conditions[0][pick], self.conditions[1][pick].float()
        else:
            pooled, context = demo.encode(self.clip[pick], torch.nn.functional.pad(self.t5[pick], (0, t5_length - self.t5.shape[1])))
        return self.latents[pick].float(), pooled, context


def train(team: Team, folder: Path, words: model.Words, vae, adapter: Adapter, args) -> dict:
    torch.manual_seed(args.seed)
    began = time.time()
    pool = StyledPool(team, words, vae, adapter, args.pool, args.seed)
    while args.wait_for and not args.wait_for.exists():
        time.sleep(0.1)
    demo = model.load_base(folder, words)
    inject(demo, adapter)
    for part in PARTS:
        getattr(demo, part).to(team.device)
    if not adapter.text_encoder and not adapter.text_encoder_2:
        with team.autocast():
            pool.encode_once(demo)
    made = time.time() - began
    alone = Team()
    alone.size = 1  # this adapter is this process's own
    trainer = FlatTrainer([demo.transformer, demo.text_encoder, demo.text_encoder_2], alone, seconds_for(args.minutes_each, args.until), args.rate,
                          warmup=20, decay=0.6, average=0.98, betas=(0.9, 0.99), max_steps=args.max_steps)
    going, losses = True, []
    while going:
        length = model.T5_LENGTHS[1] if trainer.steps % 24 == 23 else model.T5_LENGTHS[0]
        with team.autocast():
            loss = flow_loss(demo.transformer, *pool.draw(demo, args.batch // (4 if length > 64 else 1), length))
        losses.append(loss.detach())
        going = trainer.step(loss)
    trainer.swap()
    path = save_adapter(args.out or folder / "loras", demo, adapter, trainer.steps)
    tail = torch.stack(losses)
    return {"adapter": adapter.name, "steps": trainer.steps, "parameters": trainer.flat.numel(), "bytes": path.stat().st_size, "setup_s": round(made, 1),
            "seconds": round(time.time() - began, 1), "first_loss": round(float(tail[:20].mean()), 4), "last_loss": round(float(tail[-100:].mean()), 4)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--out", type=Path, help="default: MODEL/loras")
    parser.add_argument("--minutes-each", type=float, default=0.8)
    parser.add_argument("--until", type=float, help="in place of --minutes-each: seconds since 1970")
    parser.add_argument("--wait-for", type=Path, help="read the base once this file exists")
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2.5e-3)
    parser.add_argument("--pool", type=int, default=6144)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="names, comma-separated")
    parser.add_argument("--max-steps", type=int)
    args = parser.parse_args()
    team = Team()
    names = args.only.split(",") if args.only else list(ADAPTERS)
    words = model.Words(args.model)
    vae = model.load_vae(args.model).to(team.device).eval().requires_grad_(False)
    for name in names[team.rank::team.size]:
        print(json.dumps(train(team, args.model, words, vae, ADAPTERS[name], args)), flush=True)
    team.close()


if __name__ == "__main__":
    main()
