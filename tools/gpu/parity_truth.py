"""The results in f32 take most of the time: they are kept in files for later runs with the same model. Library only."""

import hashlib

from safetensors import safe_open
from safetensors.torch import load_file, save_file

from parity_cases import Job, fingerprint


def digests(inputs):
    """Tells inputs apart, as metadata of a file: "inputs 1024x1024 0" -> digest."""
    return {f"inputs {size[0]}x{size[1]} {draw}": hashlib.sha256(b"".join(t.numpy().tobytes() for t in tensors.values())).hexdigest()[:16]
            for (size, draw), tensors in inputs.items()}


def save(folder, model, values, inputs):
    """truth-output.safetensors and truth-latents.safetensors; `values`: job, or name of a slice, -> tensor."""
    groups = {"output": {}, "latents": {}}
    for job, value in values.items():
        groups["latents" if isinstance(job, Job) and job.steps else "output"][job.key if isinstance(job, Job) else job] = value
    for name, tensors in groups.items():
        if tensors:
            save_file(tensors, folder / f"truth-{name}.safetensors", metadata={"model": fingerprint(model), **digests(inputs)})


def load(folder, model, jobs, slices, inputs, say):
    """What the files of an earlier run have of these jobs and slices, for the same inputs."""
    owners = {job.key: (job, job) for job in jobs} | {name: (name, job) for name, job in slices.items()}
    ours, found = digests(inputs), {}
    for file in sorted(folder.glob("truth-*.safetensors")) if folder else ():
        with safe_open(file, "pt") as opened:
            metadata = opened.metadata() or {}
        if metadata.get("model") != fingerprint(model):
            say(f"{file} is of another model: not used")
            continue
        for key, value in load_file(file).items():
            target, job = owners.get(key, (None, None))
            name = job and f"inputs {job.size[0]}x{job.size[1]} {job.draw}"
            if job and metadata.get(name, ours[name]) == ours[name]:  # files of old have no digests
                found[target] = value
    say(f"{len(found)} results of the truth taken over")
    return found
