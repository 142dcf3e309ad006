"""The results in f32 take most of the time: they are kept in files for later runs with the same model. Library only."""

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from parity_cases import Job, fingerprint


def save(folder, model, values):
    """truth-output.safetensors and truth-latents.safetensors; `values`: job, or name of a slice, -> tensor."""
    groups = {"output": {}, "latents": {}}
    for job, value in values.items():
        groups["latents" if isinstance(job, Job) and job.steps else "output"][job.key if isinstance(job, Job) else job] = value
    for name, tensors in groups.items():
        if tensors:
            save_file(tensors, folder / f"truth-{name}.safetensors", metadata={"model": fingerprint(model)})


def load(folder, model, jobs, slices, say):
    """What the files of an earlier run have of these jobs and slices."""
    names, found = {job.key: job for job in jobs} | {name: name for name in slices}, {}
    for file in sorted(folder.glob("truth-*.safetensors")) if folder else ():
        with safe_open(file, "pt") as opened:
            same = (opened.metadata() or {}).get("model") == fingerprint(model)
        if same:
            found |= {names[key]: value for key, value in load_file(file).items() if key in names}
        else:
            say(f"{file} is of another model: not used")
    say(f"{len(found)} results of the truth taken over")
    return found
