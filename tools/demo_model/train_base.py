"""Trains the transformer on rendered scenes; the text encoders that pretrain_text.py taught stay as they are.

  torchrun --nproc-per-node=2 train_base.py --model MODEL_DIR --minutes 10 [--state FILE] [--check-every 60]
"""
from __future__ import annotations

import argparse
import contextlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

import model
from render import Renderer, SceneBatch, batch_scenes
from sampling import encode_images, flow_loss, pack, sample
from scenes import held_out_prompts, phrase, sample_training_scene
from training import FlatTrainer, Team, seconds_for

EMPTY_PROMPTS = 0.02


class Feed(torch.utils.data.IterableDataset):
    """Blocks of (scene tensors, CLIP ids, T5 ids), made in worker processes."""

    def __init__(self, folder: Path, block: int, seed: int):
        self.folder, self.block, self.seed = folder, block, seed

    def __iter__(self):
        worker = torch.utils.data.get_worker_info()
        rng = random.Random(self.seed * 9973 + (worker.id if worker else 0))
        words = model.Words(self.folder)
        while True:
            scenes = [sample_training_scene(rng) for _ in range(self.block)]
            prompts = ["" if rng.random() < EMPTY_PROMPTS else phrase(s, rng) for s in scenes]
            batch = batch_scenes(scenes, rng)
            yield batch.shape, batch.color, batch.xyr, batch.background, *words(prompts)


class Pool:
    """Latents and ids on the device. Every step replaces a block, so that no picture is seen more than a few times."""

    def __init__(self, team: Team, folder: Path, demo: model.Demo, block: int, blocks: int, seed: int, workers: int):
        feed = Feed(folder, block, seed * 100 + team.rank)
        self.source = iter(torch.utils.data.DataLoader(feed, batch_size=None, num_workers=workers, prefetch_factor=8 if workers else None))
        self.team, self.demo, self.block, self.blocks, self.turn = team, demo, block, blocks, 0
        self.renderer = Renderer(team.device)
        size = block * blocks
        self.latents = torch.empty(size, 256, 64, dtype=torch.bfloat16, device=team.device)
        self.pooled = torch.empty(size, demo.text_encoder.config.hidden_size, device=team.device)
        self.context = torch.empty(size, model.T5_LENGTHS[0], demo.text_encoder_2.config.d_model, dtype=torch.bfloat16, device=team.device)
        self.t5 = torch.empty(size, model.T5_LENGTHS[0], dtype=torch.int64, device=team.device)
        for _ in range(blocks):
            self.refresh()

    @torch.no_grad()
    def refresh(self) -> None:
        *scene, clip, t5 = next(self.source)
        images = self.renderer.render(SceneBatch(*scene))
        clip, t5 = clip.to(self.team.device), t5.to(self.team.device)
        with self.team.autocast():
            latents = encode_images(self.demo.vae, images)
            pooled, context = self.demo.encode(clip, t5)
        at = slice(self.turn * self.block, (self.turn + 1) * self.block)
        self.latents[at], self.t5[at], self.pooled[at], self.context[at] = pack(latents).bfloat16(), t5, pooled.float(), context.bfloat16()
        self.turn = (self.turn + 1) % self.blocks

    @torch.no_grad()
    def draw(self, count: int, t5_length: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Latents, pooled and context of random entries; longer prompts are encoded anew, since padding is attended to."""
        pick = torch.randint(self.latents.shape[0], (count,), device=self.team.device)
        if t5_length == self.t5.shape[1]:
            context = self.context[pick].float()
        else:
            t5 = torch.nn.functional.pad(self.t5[pick], (0, t5_length - self.t5.shape[1]))  # <pad> is 0
            context = self.demo.text_encoder_2(input_ids=t5)[0].float()
        return self.latents[pick].float(), self.pooled[pick], context


class Checks:
    """Samples held-out prompts now and then and judges them in another process."""

    def __init__(self, folder: Path, words: model.Words, team: Team, out: Path):
        self.entries = held_out_prompts(200, seed=2026)[::3]
        self.words, self.team, self.out = words, team, out
        out.mkdir(parents=True, exist_ok=True)

    def run(self, demo: model.Demo, tag: str, wait: bool = False) -> None:
        clip, t5 = (t.to(self.team.device) for t in self.words([e["prompt"] for e in self.entries]))
        with self.team.autocast(), torch.compiler.set_stance("force_eager"):
            images = sample(demo, clip, t5, seed=1)
        file = self.out / f"check-{tag}.npz"
        np.savez(file, images=(images.permute(0, 2, 3, 1) * 255).round().byte().cpu().numpy())
        (self.out / "check.json").write_text(json.dumps(self.entries))
        here = Path(__file__).parent
        process = subprocess.Popen([sys.executable, str(here / "check.py"), str(file), str(self.out / "check.json"), tag])
        if wait:
            process.wait()


def inner_matrices(transformer: torch.nn.Module) -> list[torch.nn.Parameter]:
    """The matrices of attention and feed-forward layers: what Muon trains. Modulation and embedders are Adam's."""
    return [p for n, p in transformer.named_parameters() if p.ndim == 2 and "blocks." in n and ".norm" not in n]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=Path, required=True, help="folder with tokenizers, text encoders and VAE; the result goes there too")
    parser.add_argument("--minutes", type=float, default=8.5)
    parser.add_argument("--until", type=float, help="in place of --minutes: seconds since 1970")
    parser.add_argument("--batch", type=int, default=256, help="samples per process")
    parser.add_argument("--rate", type=float, default=8e-4)
    parser.add_argument("--long-every", type=int, default=24, help="every so many steps prompts are padded to 512 tokens")
    parser.add_argument("--decay", type=float, default=0.6, help="share of the time in which the rate falls")
    parser.add_argument("--block", type=int, default=64)
    parser.add_argument("--pool", type=int, default=200, help="blocks held")
    parser.add_argument("--refresh-every", type=int, default=4, help="steps")
    parser.add_argument("--workers", type=int, default=10)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--state", type=Path, help="resume from and save to this file (weights, average, optimizer)")
    parser.add_argument("--resume-from", type=Path, help="start from the transformer in this folder, not from a new one")
    parser.add_argument("--wait-for", type=Path, help="once this file exists the text encoders are ready")
    parser.add_argument("--check-every", type=float, default=60, help="seconds; 0: never")
    parser.add_argument("--check-folder", type=Path, default=Path(tempfile.gettempdir()) / "demo-checks")
    parser.add_argument("--done-file", type=Path, help="made when the weights are in the folder")
    parser.add_argument("--max-steps", type=int)
    parser.add_argument("--compile", action="store_true")
    parser.add_argument("--muon", action=argparse.BooleanOptionalAction, default=True, help="Muon for the matrices of the blocks")
    args = parser.parse_args()
    team = Team()
    team.seed(args.seed)
    began, words = time.time(), model.Words(args.model)
    vae = model.load_vae(args.model).to(team.device).eval().requires_grad_(False)
    demo = model.new_base(words)
    if args.resume_from:
        model.load_transformer(args.resume_from, demo.transformer)
    demo.text_encoder.requires_grad_(False), demo.text_encoder_2.requires_grad_(False)
    for part in demo.trained():
        part.to(team.device)
    demo.vae = vae
    trainer = FlatTrainer([demo.transformer], team, 60.0, args.rate, warmup=100, decay=args.decay, average=0.998, max_steps=args.max_steps,
                          matrices=inner_matrices(demo.transformer) if args.muon else ())
    if args.compile:
        demo.transformer.compile_repeated_blocks(fullgraph=True, dynamic=False)
        shapes = (args.batch, 256, 64), (args.batch, 96), (args.batch, model.T5_LENGTHS[0], 128)
        with team.autocast():
            flow_loss(demo.transformer, *(torch.randn(s, device=team.device) for s in shapes)).backward()
        trainer.grad.zero_()
        team.say("compiled after", round(time.time() - began, 1), "s")
    while args.wait_for and not args.wait_for.exists():
        time.sleep(0.1)
    taught = model.load_base(args.model, words)
    demo.text_encoder.load_state_dict(taught.text_encoder.state_dict())
    demo.text_encoder_2.load_state_dict(taught.text_encoder_2.state_dict())
    pool = Pool(team, args.model, demo, args.block, args.pool, args.seed, args.workers)
    team.say(f"pool of {args.block * args.pool} after {time.time() - began:.1f} s,", sum(p.numel() for p in demo.transformer.parameters()), "parameters")
    trainer.start, trainer.seconds = time.time(), seconds_for(args.minutes, args.until)
    if args.state and args.state.exists():
        trainer.restore(torch.load(args.state, map_location=team.device, weights_only=True))
        team.say("resumed at step", trainer.steps)
    checks = Checks(args.model, words, team, args.check_folder) if team.leads else None

    def save() -> None:
        if team.leads:
            trainer.swap()
            model.save_base(args.model, demo)
            trainer.swap()
            if args.state:
                torch.save(trainer.state(), args.state.with_suffix(".part"))
                args.state.with_suffix(".part").rename(args.state)

    going, last_check, losses, last_say = True, time.time(), [], time.time()
    while going:
        long = trainer.steps % args.long_every == args.long_every - 1
        length, count = (model.T5_LENGTHS[1], args.batch // 4) if long else (model.T5_LENGTHS[0], args.batch)
        if trainer.steps % args.refresh_every == 0:
            pool.refresh()
        # Only the usual length is compiled: compiling the other would take longer than it saves.
        with team.autocast(), torch.compiler.set_stance("force_eager") if long else contextlib.nullcontext():
            loss = flow_loss(demo.transformer, *pool.draw(count, length))
        going = trainer.step(loss)
        losses.append(loss.detach())
        if trainer.steps % 100 == 0 or not going:
            pace = len(losses) / (time.time() - last_say)
            team.say(f"base step {trainer.steps} done {trainer.done:.3f} loss {float(torch.stack(losses).mean()):.4f} steps/s {pace:.1f} rate {trainer.rate():.2e}")
            losses, last_say = [], time.time()
        if args.check_every and going and time.time() - last_check > args.check_every:
            last_check = time.time()
            save()
            if team.leads:
                trainer.swap()
                checks.run(demo, f"{trainer.steps:06d}")
                trainer.swap()
    save()
    if args.done_file and team.leads:
        args.done_file.touch()
    if team.leads:
        trainer.swap()
        checks.run(demo, "final", wait=True)
    team.close()


if __name__ == "__main__":
    main()
