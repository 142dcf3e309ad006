"""Times diffusers' FluxPipeline in float32 on the CPU, the whole of it, as the yardstick for our own speed.

Prints one JSON object: seconds from process start to the first step, median seconds per step after the warm-up, the other
stages, and the peak resident memory. Loading, encoding, steps and decoding happen once, in one fresh process.

Runs alone: `python cpu_bench.py --model FOLDER --width 512 --height 512 --steps 6 [--threads 2]`.
"""

import argparse
import json
import os
import pathlib
import statistics
import time


def process_start():
    """Start of this process on CLOCK_BOOTTIME, in seconds (resolution of the kernel's tick, 10 ms)."""
    fields = pathlib.Path("/proc/self/stat").read_text().rsplit(")", 1)[1].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def now():
    return time.clock_gettime(time.CLOCK_BOOTTIME)


def memory_kb(field):
    """VmHWM (peak) or VmRSS of this process, in KiB."""
    for line in pathlib.Path("/proc/self/status").read_text().splitlines():
        if line.startswith(field + ":"):
            return int(line.split()[1])
    raise KeyError(field)


def parse():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", type=pathlib.Path, required=True)
    parser.add_argument("--prompt", default="a small red star left of a large blue circle on a yellow background")
    parser.add_argument("--width", type=int, default=512)
    parser.add_argument("--height", type=int, default=512)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--warmup", type=int, default=1, help="steps left out of the median")
    parser.add_argument("--guidance", type=float, default=3.5)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--max-sequence-length", type=int, default=512)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, help="PNG of the picture, written at the end as our program does")
    arguments = parser.parse_args()
    if arguments.steps <= arguments.warmup:
        parser.error("--steps must be greater than --warmup")
    return arguments


def main():
    arguments = parse()
    for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(arguments.threads)
    import torch
    import reference  # imports diffusers and transformers: part of what a user waits for

    torch.set_num_threads(arguments.threads)
    imported = now()
    pipe = reference.load(arguments.model)
    loaded = now()
    starts, ends, decoding = [], [], []
    pipe.transformer.register_forward_pre_hook(lambda *_: starts.append(now()))

    def step_done(_pipe, _index, _timestep, values):
        ends.append(now())
        return values

    original_decode = pipe.vae.decode

    def timed_decode(*inputs, **options):
        decoding.append(now())
        return original_decode(*inputs, **options)

    pipe.vae.decode = timed_decode
    with torch.no_grad():
        image = pipe(arguments.prompt, width=arguments.width, height=arguments.height, num_inference_steps=arguments.steps,
                     guidance_scale=arguments.guidance, max_sequence_length=arguments.max_sequence_length,
                     generator=torch.Generator("cpu").manual_seed(arguments.seed), callback_on_step_end=step_done).images[0]
    done = now()
    if arguments.out:
        image.save(arguments.out)
    # A step is the time from one callback to the next (or from the first forward): model, scheduler and callback together.
    steps = [end - begin for begin, end in zip([starts[0], *ends], ends)]
    begin = process_start()
    print(json.dumps({
        "model": str(arguments.model), "threads": arguments.threads, "width": arguments.width, "height": arguments.height,
        "steps": arguments.steps, "torch": torch.__version__, "start_to_first_step_s": round(starts[0] - begin, 3),
        "import_s": round(imported - begin, 3), "load_s": round(loaded - imported, 3),
        "encode_s": round(starts[0] - loaded, 3), "step_s_median": round(statistics.median(steps[arguments.warmup:]), 4),
        "step_s": [round(step, 4) for step in steps], "decode_s": round(done - decoding[0], 3),
        "total_s": round(done - begin, 3), "peak_rss_mib": round(memory_kb("VmHWM") / 1024, 1)}, indent=1))


if __name__ == "__main__":
    main()
