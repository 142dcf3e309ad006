"""The published recipe and fluxswap in turns on one GPU, so that both see the same clocks and temperature.

For each mode of recipe_run.py: TURNS times an image of the recipe and, where a benchmark of fluxswap is given, a run of that. The
benchmark is any program that prints one JSON object with `rows`, each with `name` and `seconds` (a list or a number). Prints a
table of medians and ratios; in_turns.json in --out has every number.

    python in_turns.py --out OUT --bench "build/gpu/fluxswap bench image --shape flux-dev --random-weights --json"
"""

import argparse
import datetime
import json
import pathlib
import shlex
import statistics
import subprocess
import sys
import time

from gpu_clocks import Clocks

START = time.time()
HERE = pathlib.Path(__file__).resolve().parent
QUERY = "name,driver_version,clocks.sm,clocks.mem,temperature.gpu,power.draw,clocks_event_reasons.active"


def say(*words):
    print(f"[{time.time() - START:6.1f}s]", *words, flush=True)


def gpu_state():
    """One line of nvidia-smi: name, driver, clocks, temperature, power, and why the clocks are what they are."""
    try:
        done = subprocess.run(["nvidia-smi", f"--query-gpu={QUERY}", "--format=csv,noheader"], capture_output=True, text=True, timeout=20)
        return done.stdout.strip() or done.stderr.strip()
    except (OSError, subprocess.TimeoutExpired) as problem:
        return str(problem)


class Recipe:
    """A process of recipe_run.py that answers commands."""

    def __init__(self, mode, arguments, log):
        command = [sys.executable, str(HERE / "recipe_run.py"), "--mode", mode, *arguments]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True)
        self.ready = self.answer()

    def answer(self):
        """The next line of JSON; libraries may print other lines."""
        for line in self.process.stdout:
            if line.startswith('{"event"'):
                return json.loads(line)
        raise RuntimeError(f"recipe_run.py ended with status {self.process.wait()}; see recipe.log")

    def ask(self, command):
        self.process.stdin.write(command + "\n")
        self.process.stdin.flush()
        return self.answer()

    def quit(self):
        last = self.ask("quit")
        self.process.stdin.close()
        self.process.wait(timeout=60)
        return last

    def kill(self):
        if self.process.poll() is None:
            self.process.kill()


def run_bench(command, timeout):
    """name -> list of seconds; empty where the benchmark is missing or fails."""
    if not command:
        return {}
    try:
        done = subprocess.run(shlex.split(command), capture_output=True, text=True, timeout=timeout, stdin=subprocess.DEVNULL)
        if done.returncode != 0:
            raise ValueError(f"status {done.returncode}: {done.stderr.strip()[-300:]}")
        rows = json.loads(done.stdout[done.stdout.index("{"):])["rows"]
        return {row["name"]: seconds_of(row) for row in rows if seconds_of(row)}
    except (OSError, ValueError, KeyError, TypeError, subprocess.TimeoutExpired) as problem:
        say("fluxswap bench:", problem)
        return {}


def seconds_of(row):
    seconds = row.get("seconds")
    return [float(s) for s in seconds] if isinstance(seconds, list) else [] if seconds is None else [float(seconds)]


def measure(mode, options, log, deadline):
    """One mode: start, turns, a swap in the middle, end."""
    found = {"recipe": [], "swap": [], "bench": {}, "bench_runs": []}
    recipe = Recipe(mode, options.recipe_arguments, log)
    found["ready"] = recipe.ready
    say(mode, "ready:", json.dumps(recipe.ready))
    try:
        for turn in range(options.turns):
            if time.time() > deadline:
                say("out of time after", turn, "turns")
                break
            found["recipe"] += [recipe.ask("image")["seconds"] for _ in range(options.images)]
            bench = run_bench(options.bench, max(10.0, deadline - time.time()))
            for name, seconds in bench.items():
                found["bench"].setdefault(name, []).extend(seconds)
            found["swap"].append(recipe.ask("swap")["seconds"])
            shown = ", ".join(f"{name} {statistics.median(seconds):.3f} s" for name, seconds in bench.items())
            say(mode, f"turn {turn + 1}: recipe", " ".join(f"{s:.3f}" for s in found["recipe"][-options.images:]), "s; fluxswap", shown or "-")
        found["peak_gib"] = recipe.quit()["peak_gib"]
    finally:
        recipe.kill()
    return found


def median(seconds):
    return statistics.median(seconds) if seconds else None


def table(results):
    """Medians; the ratio is the recipe's time over fluxswap's in the same turns, above 1 where fluxswap is faster."""
    lines = ["| recipe | image s | first image s | swap s | peak GiB | fluxswap | s | ratio |", "|---|---|---|---|---|---|---|---|"]
    show = lambda value, digits=3: "-" if value is None else f"{value:.{digits}f}"
    for mode, found in results.items():
        if "ready" not in found:
            lines.append(f"| {mode} | {found.get('error', '-')} | | | | | | |")
            continue
        image = median(found["recipe"])
        head = f"| {mode} | {show(image)} | {show(found['ready']['first_image_seconds'], 1)} | {show(median(found['swap']))} | {show(found.get('peak_gib'), 1)} |"
        for name, seconds in (found["bench"] or {"-": []}).items():
            ratio = image / median(seconds) if image and seconds else None
            lines.append(f"{head} {name} | {show(median(seconds))} | {show(ratio, 2)} |")
    return "\n".join(lines) + "\n"


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--modes", nargs="+", default=["all", "compiled", "eager"], help="of recipe_run.py, most important first")
    parser.add_argument("--turns", type=int, default=2, help="of each mode (default 2)")
    parser.add_argument("--images", type=int, default=3, help="of the recipe in each turn (default 3)")
    parser.add_argument("--bench", default="", help="command of fluxswap's benchmark; without it only the recipe runs")
    parser.add_argument("--budget", type=float, default=560, help="seconds for everything (default 560)")
    options, options.recipe_arguments = parser.parse_known_args()
    options.out.mkdir(parents=True, exist_ok=True)
    deadline = START + options.budget
    report = {"date": datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="seconds"), "bench": options.bench,
              "gpu_before": gpu_state(), "modes": {}}
    say("gpu:", report["gpu_before"])
    clocks = Clocks()
    with open(options.out / "recipe.log", "w") as log:
        for mode in options.modes:
            if time.time() > deadline - 30:
                say("no time left for", mode)
                continue
            try:
                report["modes"][mode] = measure(mode, options, log, deadline)
            except (RuntimeError, OSError, ValueError) as problem:
                say(mode, "failed:", problem)
                report["modes"][mode] = {"error": str(problem)}
            report["gpu_after"] = gpu_state()
            (options.out / "in_turns.json").write_text(json.dumps(report, indent=1))
    report["clocks"] = clocks.summary()
    (options.out / "in_turns.json").write_text(json.dumps(report, indent=1))
    text = "\n".join([f"date: {report['date']}", f"clocks: {report['clocks']}", f"gpu before: {report['gpu_before']}", f"gpu after: {report.get('gpu_after')}", "",
                      table(report["modes"])])
    (options.out / "in_turns.md").write_text(text)
    print(text)
    return 0 if report["modes"] and all("error" not in found for found in report["modes"].values()) else 1


if __name__ == "__main__":
    sys.exit(main())
