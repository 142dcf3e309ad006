"""fluxswap as one side of the comparison: its program, one process a job, in a thread beside the Python side. Library only."""

import pathlib
import queue
import subprocess
import tempfile
import threading
import time

import torch
from safetensors.torch import load_file, save_file

from parity_cases import CASES, GUIDANCE, TIMESTEP

FAILURES_TO_STOP = 2  # in a row; then the rest of that precision would fail as well, and time is dear


class Fluxswap:
    """Runs jobs in the background; `results` gets (precision, job) -> tensor, `errors` -> text, `seconds` -> of the process."""

    def __init__(self, program, device, model, adapters, inputs, deadline, say):
        self.program, self.device, self.model, self.adapters = program, device, model, adapters
        self.deadline, self.say = deadline, say
        self.results, self.errors, self.seconds, self.failed = {}, {}, {}, {}
        self.folder = pathlib.Path(tempfile.mkdtemp(prefix="parity-"))
        for size, tensors in inputs.items():
            extra = {"timestep": torch.tensor([TIMESTEP]), "guidance": torch.tensor([GUIDANCE])}
            save_file({**tensors, **extra}, self.input_file(size, "output"))
            save_file(tensors, self.input_file(size, "latents"))
        self.jobs, self.threads = queue.Queue(), []

    def input_file(self, size, kind):
        return self.folder / f"{kind}-{size[0]}x{size[1]}.safetensors"

    def start(self, jobs, precisions, workers):
        for job in jobs:
            for precision in precisions:
                self.jobs.put((precision, job))
        for index in range(workers):
            thread = threading.Thread(target=self._work, args=(index,), daemon=True)
            thread.start()
            self.threads.append(thread)

    def wait(self):
        for thread in self.threads:
            thread.join(max(0.0, self.deadline - time.time()))
        return self.jobs.qsize()

    def command(self, precision, job, out):
        width, height = job.size
        precision, _, mode = precision.partition("-")  # "fp8-unmerged"
        common = ["--model", self.model, "--device", self.device, "--precision", precision, "--width", width, "--height", height,
                  "--guidance", GUIDANCE]
        if mode == "folded":  # unmerged, within the products of fp8 layers
            common += ["--adapter-mode", "unmerged", "--max-rank", "128"]
        elif mode:
            common += ["--adapter-mode", mode]
        for name, scale in CASES[job.case].items():
            common += ["--lora", f"{self.adapters[name]}:{scale}"]
        if job.steps == 0:
            return [self.program, "debug", "transformer", *common, "--inputs", self.input_file(job.size, "output"), "--out", out]
        return [self.program, "generate", *common, "--inputs", self.input_file(job.size, "latents"), "--save-latents", out,
                "--out", out.with_suffix(".png"), "--steps", job.steps, "--seed", 0]

    def _work(self, index):
        out = self.folder / f"result-{index}.safetensors"
        while time.time() < self.deadline:
            try:
                precision, job = self.jobs.get_nowait()
            except queue.Empty:
                return
            if self.failed.get(precision, 0) < FAILURES_TO_STOP:
                self._run(precision, job, out)

    def _run(self, precision, job, out):
        start = time.time()
        error = self._error_of([str(part) for part in self.command(precision, job, out)])
        self.seconds[precision, job] = time.time() - start
        if error is None:
            self.results[precision, job] = load_file(out)["latents" if job.steps else "sample"]
            out.unlink()
        else:
            self.errors[precision, job] = error
        self.failed[precision] = 0 if error is None else self.failed.get(precision, 0) + 1
        self.say(f"fluxswap {precision}", job, f"{self.seconds[precision, job]:.1f} s", error or "")

    def _error_of(self, command):
        try:
            done = subprocess.run(command, capture_output=True, text=True, stdin=subprocess.DEVNULL,
                                  timeout=max(1.0, min(180.0, self.deadline - time.time())))
        except (subprocess.TimeoutExpired, OSError) as problem:
            return str(problem)[-300:]
        return None if done.returncode == 0 else f"status {done.returncode}: {done.stderr.strip()[-300:]}"
