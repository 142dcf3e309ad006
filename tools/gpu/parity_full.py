"""fluxswap beside diffusers at the full size of FLUX.1 [dev], with the random weights of random_flux.py.

The truth is diffusers in f32. Against it: diffusers in bf16, the published recipe's FP8 (with bf16 attention, and with attention
as FlashAttention-3 computes it on e4m3), and fluxswap in bf16 and FP8, which runs in the background from the first result of the
truth on. Everything gets the same noise and embeddings. Errors are norms of differences over norms, of the transformer's output of
one step and of latents minus noise; of both also for (with adapters minus without). With --draws N everything but planted mistakes
and slices is done for N draws of noise and embeddings, and the tables have means, standard errors, and ratios draw by draw
(parity_draws.py).

Every stage stops when its time is used up, and the tables have what there is: parity.md and parity.json in --out, rewritten after
each stage; truth-*.safetensors for --truth of a later run. Exit status 1 if a verdict fails or is missing.

    python parity_full.py --model FOLDER --fluxswap PROGRAM --out OUT
    python parity_full.py --model TINY --fluxswap PROGRAM --out OUT --device cpu --fluxswap-precisions f32 --sizes 64x64 96x64
"""

import datetime
import sys
import time

import torch

import parity_report
import parity_truth
from diffusers_side import Diffusers
from fluxswap_side import Fluxswap
from parity_cases import CASES, GUIDANCE, TIMESTEP, Job, fingerprint, make_all_inputs, make_inputs, ordered_jobs, slice_modules
from parity_mistakes import MISTAKES
from parity_options import STAGES, parse

START = time.time()
HEADROOM_FOR_TWO = 120 << 30  # bytes of a GPU on which two processes of fluxswap fit beside the Python side


def say(*words):
    print(f"[{time.time() - START:6.1f}s]", *words, flush=True)


class Comparison:
    def __init__(self, options):
        self.options = options
        self.sizes = [tuple(int(side) for side in size.split("x")) for size in options.sizes]
        self.jobs = ordered_jobs(options.cases, self.sizes, options.steps, options.depth, options.draws)
        self.inputs = make_all_inputs(options.model, self.sizes, options.text_tokens, options.draws, options.same_text)
        self.adapters = {file.stem: file for file in sorted((options.model / "loras").glob("*.safetensors"))}
        self.planted = [job for job in self.jobs if job[:2] == ("none", self.sizes[0]) and job.steps <= 4 and job.draw == 0]
        self.strong = Job("r32x8", self.sizes[0], 0)
        self.slices = dict.fromkeys(slice_modules(options.model), self.strong) if self.strong in self.jobs else {}
        self.values = {"f32": {}, **{column: {} for column in STAGES.values()}}
        self.values |= {f"fluxswap {precision}": {} for precision in options.fluxswap_precisions}
        self.deadline = START + options.budget
        about = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "model": fingerprint(options.model),
                 "device": torch.cuda.get_device_name() if options.device == "cuda" else "cpu", "torch": torch.__version__}
        if options.draws > 1:
            about["draws"] = f"{options.draws}, of noise" + ("" if options.same_text else " and embeddings")
        noise = {key: tensors["latents"] for key, tensors in self.inputs.items()}
        self.report = parity_report.Report(self.values, noise, self.slices, about)
        self.fluxswap = Fluxswap(options.fluxswap, options.device, options.model, self.adapters, self.inputs, self.deadline, say)

    def run(self):
        options = self.options
        self.values["f32"] |= parity_truth.load(options.truth, options.model, self.jobs, self.slices, self.inputs, say)
        side = Diffusers(options.model, options.device, self.adapters)
        say("diffusers: model loaded")
        self.stage(side, "f32", "f32", options.truth_budget)
        self.start_fluxswap()
        parity_truth.save(options.out, options.model, self.values["f32"], self.inputs)
        for precision, column in STAGES.items():
            if precision in options.stages:
                self.stage(side, precision, column, options.stage_budget)
        del side
        say("waiting for fluxswap")
        left = self.fluxswap.wait()
        if left:
            say(f"out of time: {left} jobs of fluxswap not begun")
        return self.write()

    def start_fluxswap(self):
        """Once this side holds its memory: a program that finds a GPU empty takes more than it needs."""
        if not self.fluxswap.threads:
            self.fluxswap.start(self.jobs, self.options.fluxswap_precisions if self.options.fluxswap else [], self.workers())

    def workers(self):
        if self.options.workers:
            return self.options.workers
        return 2 if self.options.device == "cuda" and torch.cuda.get_device_properties(0).total_memory > HEADROOM_FOR_TWO else 1

    def stage(self, side, precision, column, budget):
        begin, values = time.time(), self.values[column]
        wanted = self.jobs if precision == "f32" else [job for job in self.jobs if job in self.values["f32"]]
        missing = [job for job in wanted if job not in values]
        if missing or precision != "f32":
            side.use(precision)
        limit = min(begin + budget, self.deadline)
        for job in missing:
            if time.time() > limit:
                say(f"{column}: budget used up before", job)
                break
            start = time.time()
            values[job] = self.compute(side, job)
            say(f"{column}:", job, f"{time.time() - start:.1f} s")
            self.start_fluxswap()
            if job == self.strong and precision in ("f32", "bf16"):
                self.leave_slices_out(side, precision)
            if precision == "bf16" and job in self.planted:
                self.plant_mistakes(side, job)
        self.write()

    def compute(self, side, job):
        inputs = self.inputs[job.size, job.draw]
        if job.steps:
            return side.sample(CASES[job.case], job.size, inputs, job.steps, GUIDANCE)
        return side.output(CASES[job.case], job.size, inputs, TIMESTEP, GUIDANCE)

    def leave_slices_out(self, side, precision):
        """The truth learns what each slice does; in bf16 it is a planted mistake."""
        for name in self.slices:
            with side.without_slice("all-r32", name):
                value = self.compute(side, self.strong)
            if precision == "f32":
                self.values["f32"][name] = value
            else:
                self.report.mistakes.append((name, self.strong, value))

    def plant_mistakes(self, side, job):
        noise = self.inputs[job.size, job.draw]["latents"] if job.steps else 0
        right = self.values["diffusers bf16"][job]
        if job not in self.values["f32"]:
            return
        for mistake in MISTAKES:
            with mistake(side.pipe.transformer):
                self.report.mistakes.append((mistake.__name__, job, self.compute(side, job) - noise))
        if self.options.device == "cuda" and not torch.equal(self.compute(side, job), right):
            say("warning: diffusers bf16 gives other bits after the planted mistakes; one was not taken back, or it is not deterministic")
        side.exact_time = False
        rounded = "control: time and guidance rounded to bf16, as diffusers does"
        self.report.mistakes.append((rounded, job, self.compute(side, job) - noise))
        side.exact_time = True

    def write(self):
        for (precision, job), value in list(self.fluxswap.results.items()):
            self.values[f"fluxswap {precision}"][job] = value
        self.report.about["errors"] = {f"{precision} {job}": text for (precision, job), text in list(self.fluxswap.errors.items())}
        return parity_report.write(self.report, self.options.out)


def self_test(options):
    """The truth is what diffusers computes with weights held in f32."""
    from diffusers import FluxTransformer2DModel
    size = tuple(int(side) for side in options.sizes[0].split("x"))
    inputs = make_inputs(options.model, size, options.text_tokens)
    side = Diffusers(options.model, options.device, {})
    side.use("f32")
    mine = side.output({}, size, inputs, TIMESTEP, GUIDANCE)
    side.pipe.transformer = FluxTransformer2DModel.from_pretrained(options.model / "transformer", torch_dtype=torch.float32).to(options.device)
    theirs = side.output({}, size, inputs, TIMESTEP, GUIDANCE)
    error = parity_report.relative(mine, theirs)
    print(f"self-test: relative difference {error:.1e}")
    assert error < 1e-5


def main():
    options = parse(__doc__.splitlines()[0])
    options.out.mkdir(parents=True, exist_ok=True)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    if options.self_test:
        return self_test(options)
    if "none" not in options.cases:
        options.cases = ["none", *options.cases]  # nothing can be said about adapters without it
    verdicts = Comparison(options).run()
    print((options.out / "parity.md").read_text())
    say("verdicts:", ", ".join(f"{count} {verdict}" for verdict, count in sorted(verdicts.items())) or "none")
    # What was not compared proves nothing.
    return 0 if verdicts["pass"] and not (verdicts["FAIL"] or verdicts["missing"] or verdicts["NOT SEEN"]) else 1


if __name__ == "__main__":
    sys.exit(main())
