"""fluxswap as one side of the comparison: its program, in a thread beside the Python side. Library only.

Loading the model takes most of a process's time, so one process makes all draws of a case, size and number of steps. A program
that refuses several texts at once is found out by the first such process; from then on each draw has a process of its own, the
first draws of everything before the others.
"""

import pathlib
import queue
import subprocess
import tempfile
import threading
import time

import torch
from safetensors.torch import load_file, save_file

from parity_cases import CASES, GUIDANCE, TIMESTEP

MODES = {
    "merged": ["--adapter-mode", "merged"],
    "folded": ["--adapter-mode", "unmerged"],  # within the products of fp8 layers
    "slots": ["--adapter-mode", "unmerged", "--no-merge"],  # beside the weights
    "bf16attention": ["--attention", "bf16"],
    "e4m3modulation": ["--modulation", "e4m3"],
}
FAILURES_TO_STOP = 2  # in a row; then the rest of that precision would fail as well, and time is dear
OTHER_TIMESTEP = 0.25  # any other than TIMESTEP
SECONDS_TO_LOAD, SECONDS_A_DRAW = 120, 60  # at most


class Fluxswap:
    """Runs jobs in the background; `results` gets (precision, job) -> tensor, `errors` -> text."""

    def __init__(self, program, device, model, adapters, inputs, deadline, say):
        self.program, self.device, self.model, self.adapters, self.inputs = program, device, model, adapters, inputs
        self.deadline, self.say = deadline, say
        self.results, self.errors, self.failed = {}, {}, {}
        self.one_by_one = set()  # "output", "latents": where the program takes one draw at a time
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="parity-"))
        self.tasks, self.threads = queue.Queue(), []  # of (precision, jobs that differ by their draw only)

    def start(self, jobs, precisions, workers):
        groups = {}
        for job in jobs:
            groups.setdefault(job._replace(draw=0), []).append(job)
        for group in groups.values():
            for precision in precisions:
                self.tasks.put((precision, group))
        for index in range(workers):
            thread = threading.Thread(target=self._work, args=(index,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def wait(self):
        for thread in self.threads:
            thread.join(max(0.0, self.deadline - time.time()))
        return sum(len(jobs) for _, jobs in list(self.tasks.queue))

    def command(self, precision, job, count, given, out):
        width, height = job.size
        precision, *modes = precision.split("-")  # "fp8-folded-bf16attention"
        common = ["--model", self.model, "--device", self.device, "--precision", precision, "--width", width, "--height", height,
                  "--guidance", GUIDANCE, "--inputs", given]
        for mode in modes:
            common += MODES[mode]
        for name, scale in CASES[job.case].items():
            common += ["--lora", f"{self.adapters[name]}:{scale}"]
        if job.steps == 0:
            return [self.program, "debug", "transformer", *common, "--out", out]
        return [self.program, "generate", *common, "--save-latents", out, "--out", out.with_suffix(".png"), "--steps", job.steps,
                "--seed", 0, *(["--count", count] if count > 1 else [])]

    def given(self, jobs):
        """The tensors of a file for --inputs."""
        inputs = [self.inputs[job.size, job.draw] for job in jobs]
        tensors = {name: torch.cat([given[name] for given in inputs]) for name in inputs[0]}
        if jobs[0].steps:
            return {name: t[:1].clone() if name != "latents" and bool((t == t[:1]).all()) else t for name, t in tensors.items()}
        if len(jobs) > 1:  # one more, at another timestep: it keeps the others from being computed as one batch
            tensors = {name: torch.cat([t, t[:1]]) for name, t in tensors.items()}
        timesteps = [TIMESTEP] * len(jobs) + [OTHER_TIMESTEP] * (len(jobs) > 1)
        return {**tensors, "timestep": torch.tensor(timesteps), "guidance": torch.tensor([GUIDANCE])}

    def _work(self, index):
        while time.time() < self.deadline:
            try:
                precision, jobs = self.tasks.get_nowait()
            except queue.Empty:
                return
            if self.failed.get(precision, 0) < FAILURES_TO_STOP:
                self._run_all(precision, jobs, index)

    def _run_all(self, precision, jobs, index):
        """All draws in one process, or else the first draw now and the others behind all other tasks."""
        kind = "latents" if jobs[0].steps else "output"
        several = len(jobs) > 1
        if several and kind not in self.one_by_one and self._run(precision, jobs, index):
            return
        fine = self._run(precision, jobs[:1], index)
        if several and fine:
            self.one_by_one.add(kind)
        for job in jobs[1:]:
            self.tasks.put((precision, [job]))

    def _run(self, precision, jobs, index):
        """Whether it gave results."""
        begin, given, out = time.time(), self.folder / f"inputs-{index}.safetensors", self.folder / f"result-{index}.safetensors"
        save_file(self.given(jobs), given)
        seconds = SECONDS_TO_LOAD + SECONDS_A_DRAW * len(jobs)
        error = self._error_of([str(part) for part in self.command(precision, jobs[0], len(jobs), given, out)], seconds)
        if error is None:
            found = load_file(out)["latents" if jobs[0].steps else "sample"]
            self.results |= {(precision, job): found[i:i + 1].clone() for i, job in enumerate(jobs)}
            out.unlink()
        for job in jobs:
            self.errors.pop((precision, job), None)
            if error is not None:
                self.errors[precision, job] = error
        self.failed[precision] = 0 if error is None else self.failed.get(precision, 0) + 1
        draws = f"({len(jobs)} draws)" if len(jobs) > 1 else ""
        self.say(f"fluxswap {precision}", jobs[0], f"{draws} {time.time() - begin:.1f} s".strip(), error or "")
        return error is None

    def _error_of(self, command, seconds):
        try:
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                  timeout=max(1.0, min(seconds, self.deadline - time.time())))
        except (subprocess.TimeoutExpired, OSError) as problem:
            return str(problem)[-300:]
        return None if done.returncode == 0 else f"status {done.returncode}: {done.stderr.strip()[-300:]}"
