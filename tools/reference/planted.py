"""Plants plausible mistakes in the reference and measures how far each moves the result.

A random model can be blind: everything agrees because nothing matters. Here every mistake must move its quantity by at least
ten times the tolerance of the tests, on each tiny model where it applies. Controls, which are no mistakes, must stay below it.

Runs alone after golden.py: `python planted.py` prints a table and writes tests/data/golden/planted.json.
"""

import copy
import json

import torch

import adapters
import reference
from cases import CASES
from golden import adapter_files, encoded_image
from mistakes import MISTAKES, patch
from tiny_models import GOLDEN

# What the tests allow, relative. The text encoders are shallow: float32 rounding moves them by less than 1e-6.
TOLERANCE = {"latents": 1e-4, "adapter change": 1e-4, "image": 1e-4, "encoded": 1e-4, "prompt_embeds": 1e-5, "pooled": 1e-5}
VISIBLE = 10  # a mistake must exceed so many tolerances
HARMLESS = 1 / 3  # a control must stay below this part of one


def measure(quantity, pipe, case, fixed):
    """One quantity; everything before it is taken from the right pipeline, so that a mistake cannot hide behind another part."""
    if quantity == "latents":
        embeds = dict(prompt_embeds=fixed["prompt_embeds"], pooled_prompt_embeds=fixed["pooled"])
        return reference.sample(pipe, case, latents=fixed["noise"], **embeds) - fixed["noise"]
    if quantity == "image":
        return reference.decode(pipe, fixed["latents"] + fixed["noise"], case)
    if quantity == "encoded":
        return encoded_image(pipe, case)["vae.encode.mean"]
    prompt_embeds, pooled = reference.encode(pipe, case)
    return prompt_embeds if quantity == "prompt_embeds" else pooled


def right_values(pipe, case):
    fixed = {"noise": reference.initial_noise(pipe, case)}
    fixed["prompt_embeds"], fixed["pooled"] = reference.encode(pipe, case)
    for quantity in ("latents", "image", "encoded"):
        fixed[quantity] = measure(quantity, pipe, case, fixed)
    return fixed


# Adapter mistakes: each changes the patches of a set of adapters: (file, scale, component, module, update) -> update or None.

def _keep(condition):
    return lambda file, component, module, update: update if condition(component, module) else None


def _alpha_ignored(file, component, module, update):
    state = adapters.load_file(file)
    path = f"{component}.{module}"
    return state[f"{path}.lora_B.weight"].double() @ state[f"{path}.lora_A.weight"].double()


def _one_rank_for_all(file, component, module, update):
    """alpha divided by the first module's rank instead of this one's."""
    state = adapters.load_file(file)
    first = next(key for key in sorted(state) if key.endswith(".lora_A.weight"))
    return update * (state[f"{component}.{module}.lora_A.weight"].shape[0] / state[first].shape[0])


def _final_rows_exchanged(file, component, module, update):
    return update.roll(update.shape[0] // 2, 0) if module == "norm_out.linear" else update


ADAPTER_MISTAKES = {
    "adapter_without_to_k": ("lora-attention", _keep(lambda c, m: not m.endswith("to_k"))),
    "adapter_without_one_to_v": ("lora-attention", _keep(lambda c, m: m != "single_transformer_blocks.1.attn.to_v")),
    "adapter_without_to_add_out": ("lora-attention", _keep(lambda c, m: not m.endswith("to_add_out"))),
    "adapter_alpha_ignored": ("lora-all", _alpha_ignored),
    "adapter_one_rank_for_all": ("lora-all", _one_rank_for_all),
    "adapter_without_modulation": ("lora-all", _keep(lambda c, m: "norm" not in m)),
    "adapter_without_single_modulation": ("lora-all", _keep(lambda c, m: not m.endswith(".norm.linear"))),
    "adapter_without_proj_mlp": ("lora-all", _keep(lambda c, m: not m.endswith("proj_mlp"))),
    "adapter_without_embedders": ("lora-all", _keep(lambda c, m: "embed" not in m)),
    "adapter_without_timestep_linear_1": ("lora-all", _keep(lambda c, m: not m.endswith("timestep_embedder.linear_1"))),
    "adapter_final_halves_swapped": ("lora-all", _final_rows_exchanged),
    "adapter_without_final_linear": ("lora-all", _keep(lambda c, m: m != "proj_out")),
    "adapter_without_clip": ("lora-clip", _keep(lambda c, m: c != "text_encoder")),
    "adapter_without_t5": ("lora-t5", _keep(lambda c, m: c != "text_encoder_2")),
    "adapter_text_parts_missing": ("lora-text", _keep(lambda c, m: c == "transformer")),
    "adapter_header_alpha_ignored": ("lora-metadata", _alpha_ignored),
}


def adapter_error(config, case, plain, change):
    """Error on (with minus without) that a change of the patches causes."""
    files = adapter_files(config, case)
    without = reference.sample(plain, case)
    right = reference.sample(adapters.merged(plain, files), case) - without
    original = adapters.patches

    def wrong(file):
        for component, module, update in original(file):
            update = change(file, component, module, update)
            if update is not None:
                yield component, module, update

    adapters.patches = wrong
    try:
        return reference.relative(reference.sample(adapters.merged(plain, files), case) - without, right)
    finally:
        adapters.patches = original


# Controls: legitimate ways to compute the same thing.

def _sinusoid_in_float64(pipe):
    def forward(call, timesteps):
        half = call.__self__.num_channels // 2
        angles = timesteps.double()[:, None] * torch.exp(-torch.log(torch.tensor(1e4, dtype=torch.float64))
                                                         * torch.arange(half, dtype=torch.float64) / half)
        return torch.cat([angles.cos(), angles.sin()], dim=-1).float()
    patch(pipe.transformer.time_text_embed.time_proj, "forward", forward)


def _float64_everywhere(pipe):
    for part in (pipe.transformer, pipe.vae, pipe.text_encoder, pipe.text_encoder_2):
        part.double()


CONTROLS = {"sinusoid_in_float64": _sinusoid_in_float64, "float64_everywhere": _float64_everywhere}


def control_error(name, plain, case, fixed):
    pipe = copy.deepcopy(plain)
    CONTROLS[name](pipe)
    if name == "float64_everywhere":
        fixed = {key: value.double() for key, value in fixed.items()}
    return reference.relative(measure("latents", pipe, case, fixed), fixed["latents"])


def examine(config):
    """name -> {quantity, error} for one configuration."""
    plain = reference.load(GOLDEN / config / "model")
    base, vae = CASES[config]["base"], CASES[config]["vae"]
    fixed = {"base": right_values(plain, base), "vae": right_values(plain, vae)}
    rows = {}
    for name, (quantity, plant) in MISTAKES.items():
        which, case = ("vae", vae) if quantity in ("image", "encoded") else ("base", base)
        pipe = copy.deepcopy(plain)
        if plant(pipe) is not False:
            error = reference.relative(measure(quantity, pipe, case, fixed[which]), fixed[which][quantity])
            rows[name] = {"quantity": quantity, "error": error}
    for name, (case, change) in ADAPTER_MISTAKES.items():
        if case in CASES[config]:
            error = adapter_error(config, CASES[config][case], plain, change)
            rows[name] = {"quantity": "adapter change", "error": error}
    for name in CONTROLS:
        rows[f"control: {name}"] = {"quantity": "latents", "error": control_error(name, plain, base, fixed["base"])}
    return rows


def main():
    torch.set_num_threads(1)
    results = {config: examine(config) for config in CASES}
    names = list(dict.fromkeys(name for rows in results.values() for name in rows))
    print(f"{'mistake':42}{'quantity':16}" + "".join(f"{config:>14}" for config in results))
    blind = []
    for name in names:
        found = {config: rows[name] for config, rows in results.items() if name in rows}
        quantity = next(iter(found.values()))["quantity"]
        errors = [f"{found[c]['error']:14.1e}" if c in found else f"{'-':>14}" for c in results]
        print(f"{name:42}{quantity:16}" + "".join(errors))
        for config, row in found.items():
            parts = row["error"] / TOLERANCE[row["quantity"]]
            wrong = not parts <= HARMLESS if name.startswith("control") else not parts >= VISIBLE
            blind += [f"{config}/{name}: {row['error']:.1e}"] if wrong else []
    assert not blind, "outside their limits: " + ", ".join(blind)
    rounded = {config: {name: {**row, "error": float(f"{row['error']:.2e}")} for name, row in rows.items()}
               for config, rows in results.items()}
    report = {"tolerance": TOLERANCE, "visible": VISIBLE, "errors": rounded}
    (GOLDEN / "planted.json").write_text(json.dumps(report, indent=1) + "\n")


if __name__ == "__main__":
    main()
