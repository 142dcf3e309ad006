"""Runs the tiny models in float32 on the CPU and writes one safetensors file per case, with intermediate tensors.

Every case proves itself before it is written: the hooks do not change a bit, drawn and given noise agree, a float64 run agrees
(the model is not chaotic, so 1e-4 is a fair tolerance), each adapter moves the latents by more than 10 %, and the merge that
defines an adapter's result agrees with PEFT and, where it can read the file, with diffusers' own loader.

Runs alone after tiny_models.py and adapters.py: `python golden.py [--only tiny-dev]`.
"""

import argparse
import json
import re

import torch
from safetensors.torch import load_file

import adapters
import reference
from cases import CASES
from stable_files import save_stable
from tiny_models import GOLDEN

FLOAT64_LIMIT = 1e-5  # float32 against float64, relative, on latents minus noise: a tenth of the tolerance
ORACLE_LIMIT = 1e-5  # merged weights against PEFT and diffusers
EFFECT_FLOOR = 0.1  # an adapter must move the latents by this much


def adapter_files(config, case):
    return [(GOLDEN / config / "loras" / f"{kind}.safetensors", scale) for kind, scale in case["adapters"]]


def metadata(case):
    """All strings. `adapters` is FILE:SCALE joined by ';', files relative to the folder of the configuration."""
    values = {key: str(case[key]) for key in ("prompt", "seed", "steps", "guidance", "width", "height",
                                              "max_sequence_length", "base")}
    values["adapters"] = ";".join(f"loras/{kind}.safetensors:{scale}" for kind, scale in case["adapters"])
    return values


def run(pipe, case):
    """All tensors of one case, with the proofs about hooks and noise."""
    noise = reference.initial_noise(pipe, case)
    plain = reference.sample(pipe, case)
    with reference.tapped(pipe) as taps:  # keeps the first value of each name: step 0
        latents = reference.sample(pipe, case)
        image = reference.decode(pipe, latents, case)
    assert torch.equal(plain, latents), "hooks changed the result"
    assert torch.equal(plain, reference.sample(pipe, case, latents=noise)), "the noise is not the pipeline's"
    prompt_embeds, pooled = reference.encode(pipe, case)
    clip_ids, t5_ids = reference.token_ids(pipe, case)
    tensors = {"noise": noise, "latents": latents, "sigmas": pipe.scheduler.sigmas.float()}
    if case["taps"] or case["vae"] or any(k in ("clip", "t5", "text") for k, _ in case["adapters"]):
        tensors |= {"prompt_embeds": prompt_embeds, "pooled_prompt_embeds": pooled}
    if case["taps"] or case["vae"]:
        tensors |= {"image": image, "clip_ids": torch.tensor(clip_ids, dtype=torch.int32),
                    "t5_ids": torch.tensor(t5_ids, dtype=torch.int32)}
        check_image(pipe, case, image)
    if case["taps"]:
        tensors |= {name: value for name, value in taps.values.items() if not name.startswith("vae.")}
    if case["vae"]:
        tensors |= {name: value for name, value in taps.values.items() if name.startswith("vae.")}
        tensors |= encoded_image(pipe, case)
    return {name: value.contiguous() for name, value in tensors.items()}


def check_image(pipe, case, image):
    """Our own decoding is the pipeline's."""
    whole = reference.sample(pipe, case, output_type="pt")
    assert torch.equal(whole, (image / 2 + 0.5).clamp(0, 1)), "the image is not the pipeline's"


@torch.no_grad()
def encoded_image(pipe, case):
    """The VAE encoder on a smooth picture with some noise: input in [-1, 1] and the mean of the posterior, unscaled."""
    generator = torch.Generator().manual_seed(case["seed"])
    rows = torch.linspace(-1, 1, case["height"]).view(1, 1, -1, 1)
    columns = torch.linspace(-1, 1, case["width"]).view(1, 1, 1, -1)
    waves = torch.cat([torch.sin(3 * rows + 5 * columns), torch.cos(7 * rows * columns), rows - columns.abs()], dim=1)
    picture = (0.8 * waves + 0.1 * torch.randn(waves.shape, generator=generator)).clamp(-1, 1)
    return {"vae.encode.input": picture, "vae.encode.mean": pipe.vae.encode(picture).latent_dist.mean}


def float64_error(config, case, tensors):
    """How far float32 rounding alone moves the result."""
    pipe = reference.load(GOLDEN / config / "model", torch.float64)
    pipe = adapters.merged(pipe, adapter_files(config, case))
    truth = reference.sample(pipe, case, latents=tensors["noise"].double())
    noise = tensors["noise"].double()
    error = reference.relative(tensors["latents"].double() - noise, truth - noise)
    if "image" in tensors:
        error = max(error, reference.relative(tensors["image"], reference.decode(pipe, truth, case)))
    return error


def with_peft(config, files_and_scales):
    """The same adapters, unmerged, by PEFT: exact module names in the patterns, so that no pattern leaks."""
    from peft import LoraConfig, inject_adapter_in_model, set_peft_model_state_dict
    from peft.tuners.lora import LoraLayer

    pipe = reference.load(GOLDEN / config / "model")
    for component in adapters.COMPONENTS:
        model = getattr(pipe, component)
        for i, (file, scale) in enumerate(files_and_scales):
            state = _component_state(file, component)
            if not state:
                continue
            ranks = {k.removesuffix(".lora_A.weight"): v.shape[0] for k, v in state.items() if k.endswith("lora_A.weight")}
            alphas = {name: adapters.metadata_alpha(component, name, rank, _header(file)) for name, rank in ranks.items()}
            alphas |= {k.removesuffix(".alpha"): float(v) for k, v in state.items() if k.endswith(".alpha")}
            options = LoraConfig(r=1, lora_alpha=1, target_modules=list(ranks), init_lora_weights=False,
                                 rank_pattern={"^" + re.escape(k): v for k, v in ranks.items()},
                                 alpha_pattern={"^" + re.escape(k): v for k, v in alphas.items()})
            inject_adapter_in_model(options, model, adapter_name=f"adapter_{i}")
            weights = {k: v.float() for k, v in state.items() if not k.endswith(".alpha")}
            outcome = set_peft_model_state_dict(model, weights, adapter_name=f"adapter_{i}")
            assert not outcome.unexpected_keys, outcome.unexpected_keys
        names = [f"adapter_{i}" for i in range(len(files_and_scales))]
        for layer in model.modules():
            if isinstance(layer, LoraLayer):
                present = [name for name in names if name in layer.lora_A]
                layer.set_adapter(present)
                for name in present:
                    layer.set_scale(name, files_and_scales[int(name.removeprefix("adapter_"))][1])
    return pipe


def _component_state(file, component):
    state = {k.removeprefix(component + "."): v for k, v in load_file(file).items() if k.startswith(component + ".")}
    return {k.removeprefix("text_model."): v for k, v in state.items()} if component == "text_encoder" else state


def _header(file):
    from safetensors import safe_open
    with safe_open(file, "pt") as opened:
        return opened.metadata()


def with_diffusers(config, files_and_scales):
    """The same adapters through FluxPipeline.load_lora_weights, or None where diffusers is known to read them wrongly:
    it has no T5 adapters, and an `.alpha` of the top-level `proj_out` leaks onto every single block's `proj_out`."""
    if any(re.search(r"all-linears|t5|text", file.name) for file, _ in files_and_scales):
        return None
    pipe = reference.load(GOLDEN / config / "model")
    for i, (file, _) in enumerate(files_and_scales):
        pipe.load_lora_weights(str(file.parent), weight_name=file.name, adapter_name=f"adapter_{i}")
    pipe.set_adapters([f"adapter_{i}" for i in range(len(files_and_scales))], [scale for _, scale in files_and_scales])
    return pipe


def check_adapters(config, case, tensors, base):
    """Effect and oracles of an adapter case; returns the numbers for the report."""
    noise = tensors["noise"]
    change = tensors["latents"] - base["latents"]
    effect = float(change.norm() / (base["latents"] - noise).norm())
    assert effect > EFFECT_FLOOR, f"adapter moves the latents by {effect:.3f} only"
    numbers = {"effect": effect}
    for name, make in (("peft", with_peft), ("diffusers", with_diffusers)):
        pipe = make(config, adapter_files(config, case))
        if pipe is not None:
            other = reference.sample(pipe, case, latents=noise) - base["latents"]
            numbers[name] = reference.relative(other, change)
            assert numbers[name] <= ORACLE_LIMIT, f"{name} disagrees with the merge: {numbers[name]:.2e}"
    return numbers


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", choices=sorted(CASES))
    arguments = parser.parse_args()
    torch.set_num_threads(1)  # one order of summation, so that a second run writes the same bytes
    for config in [arguments.only] if arguments.only else CASES:
        plain, results = reference.load(GOLDEN / config / "model"), {}
        for name, case in CASES[config].items():
            pipe = adapters.merged(plain, adapter_files(config, case))
            results[name] = tensors = run(pipe, case)
            numbers = {"float64": float64_error(config, case, tensors)}
            assert numbers["float64"] <= FLOAT64_LIMIT, f"{config}/{name}: float64 differs by {numbers['float64']:.2e}"
            if case["adapters"]:
                numbers |= check_adapters(config, case, tensors, results[case["base"]])
            file = GOLDEN / config / f"{name}.safetensors"
            save_stable(tensors, file, metadata(case))
            print(config, name, f"{file.stat().st_size / 1e3:.0f} kB", json.dumps({k: f"{v:.1e}" for k, v in numbers.items()}),
                  flush=True)


if __name__ == "__main__":
    main()
