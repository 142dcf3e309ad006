"""Errors, verdicts and tables from the tensors of all sides. Library only."""

import collections
import json

from parity_cases import CASES, Job
from parity_draws import both, ratios, shared_draws, summary, verdict_on_error, verdict_on_strength
from parity_table import markdown

BF16_FACTOR = 1.5  # fluxswap bf16 may have this much of diffusers bf16's error; fluxswap fp8 may have the recipe's
STRENGTH_FLOOR = {"bf16": 0.01, "fp8": 0.03, "f32": 0.001}  # so far from 1 is always good enough
VISIBLE = 10  # a planted mistake must exceed so many tolerances
F32_LIMIT = 1e-4  # the tolerance of the golden tests
FP8 = [f"fp8{way}{attention}{modulation}" for way in ("", "-merged", "-folded", "-slots") for attention in ("", "-bf16attention")
       for modulation in ("", "-e4m3modulation")]
COMPARED = {"bf16": ("diffusers bf16", BF16_FACTOR), **dict.fromkeys(FP8, ("recipe fp8", 1.0))}
SHARE_TOLERANCE = 0.08


def relative(value, truth):
    return float((value.double() - truth.double()).norm() / truth.double().norm().clamp_min(1e-300))


def projection(value, direction):
    """How much of `direction` is in `value`: 1 for all of it. Rounding is spread over all directions, so this sees far below it."""
    value, direction = value.double().flatten(), direction.double().flatten()
    return float(value @ direction / (direction @ direction).clamp_min(1e-300))


class Report:
    """`values`: column -> {job or slice name: tensor}; the truth is the column f32. `noise`: (size, draw) -> tensor."""

    def __init__(self, values, noise, slices, about):
        self.values, self.noise, self.slices, self.about = values, noise, slices, about
        self.sizes, self.several = list(dict.fromkeys(size for size, _ in noise)), any(draw for _, draw in noise)
        self.columns = [name for name in values if name != "f32"]
        self.mistakes = []  # (name, job, output or latents minus noise)

    def moved(self, column, job):
        """Output, or latents minus noise; None where the column has not got that far."""
        value = self.values.get(column, {}).get(job)
        return value - self.noise[job.size, job.draw] if value is not None and isinstance(job, Job) and job.steps else value

    def change(self, column, job):
        """With adapters minus without."""
        with_, without = self.moved(column, job), self.moved(column, job._replace(case="none"))
        return None if with_ is None or without is None else with_ - without

    def rows(self):
        groups = {}
        for job in self.values["f32"]:
            if isinstance(job, Job):
                groups.setdefault(job[:3], []).append(job)
        for case, size, steps in sorted(groups, key=lambda key: (key[2], self.sizes.index(key[1]), list(CASES).index(key[0]))):
            jobs = groups[case, size, steps]
            yield self.row(jobs, jobs[0].measure, self.moved, relative)
            changed = [job for job in jobs if case != "none" and self.change("f32", job) is not None]
            if changed:
                yield self.row(changed, f"change of {jobs[0].measure}", self.change, relative)
                yield self.row(changed, f"strength in {jobs[0].measure}", self.change, projection)
        yield from self.slice_rows()

    def errors(self, job, quantity, error):
        """Of one draw."""
        truth = quantity("f32", job)
        found = {column: quantity(column, job) for column in self.columns}
        return {column: None if value is None else error(value, truth) for column, value in found.items()}

    def row(self, jobs, measure, quantity, error):
        """`jobs`: the draws of one case, size and number of steps. `errors` are means over the draws that all compared columns have;
        ratios and verdicts are of the draws that their own two columns have."""
        each = {job.draw: self.errors(job, quantity, error) for job in jobs}
        pairs = {p: both(each, f"fluxswap {p}", beside) for p, (beside, _) in COMPARED.items() if f"fluxswap {p}" in self.columns}
        compared = [column for p, found in pairs.items() if found for column in (f"fluxswap {p}", COMPARED[p][0])]
        used = shared_draws(each, compared)
        found = {column: summary([each[draw][column] for draw in used if each[draw][column] is not None]) for column in self.columns}
        row = {"case": jobs[0].case, "size": f"{jobs[0].size[0]}x{jobs[0].size[1]}", "measure": measure,
               "errors": {column: numbers and numbers["mean"] for column, numbers in found.items()},
               "verdicts": self.verdicts(each, pairs, error)}
        if self.several:
            row["draws"] = {"used": used, "columns": found, "each": each,
                            "ratios": {p: summary(ratios(pairs[p])) if error is relative else None for p in pairs}}
        return row

    def verdicts(self, each, pairs, error):
        """One for each precision of fluxswap that has something to be held against."""
        made = {}
        for precision, found in pairs.items():
            factor = COMPARED[precision][1]
            if not found:
                made[precision] = "missing"
            elif error is projection:
                made[precision] = verdict_on_strength(found, factor, STRENGTH_FLOOR[precision.partition("-")[0]], self.several)
            else:
                made[precision] = verdict_on_error(found, factor, self.several)
        exact = [errors["fluxswap f32"] for errors in each.values() if errors.get("fluxswap f32") is not None]
        if exact and error is relative:
            made["f32"] = "pass" if max(exact) <= F32_LIMIT else "FAIL"
        return made

    def slice_rows(self):
        """What is left of one layer's adapter, from the case with strong adapters: 1 is all of it, 0 none."""
        for name, job in self.slices.items():
            size = f"{job.size[0]}x{job.size[1]}"
            shares = {column: self.share(column, name, job) for column in self.columns}
            verdicts = {p: "pass" if abs(shares[f"fluxswap {p}"] - 1) <= self.share_limit(shares, p) else "FAIL"
                        for p in COMPARED if shares.get(f"fluxswap {p}") is not None}
            yield {"case": job.case, "size": size, "measure": f"share of {name}", "errors": shares, "verdicts": verdicts}

    @staticmethod
    def share_limit(shares, precision):
        beside, factor = COMPARED[precision]
        theirs = shares.get(beside)
        return SHARE_TOLERANCE if theirs is None else max(SHARE_TOLERANCE, factor * abs(theirs - 1))

    def share(self, column, name, job, with_=None):
        """`with_`: another output in place of the column's, for planted mistakes."""
        change, truth, without = self.change(column, job), self.change("f32", job), self.values["f32"].get(name)
        if with_ is not None:
            change = with_ - self.moved(column, job._replace(case="none"))
        if change is None or truth is None or without is None:
            return None
        return 1 + projection(change - truth, self.moved("f32", job) - without)

    def mistake_rows(self):
        """Each beside the tolerances of the two verdicts; it must be seen beside bf16's, in the output or in latents."""
        rows = [self.mistake_row(name, job, value) for name, job, value in self.mistakes]
        seen = {row["mistake"] for row in rows if row["times"]["bf16"] is not None and row["times"]["bf16"] >= VISIBLE}
        for row in rows:
            row["verdict"] = "-" if row["mistake"].startswith("control") else "seen" if row["mistake"] in seen else "NOT SEEN"
        return rows

    def mistake_row(self, name, job, value):
        if name in self.slices:
            share = self.share("diffusers bf16", name, job, with_=value)
            shares = {column: self.share(column, name, job) for column in self.columns}
            error, limits = None if share is None else abs(1 - share), {p: self.share_limit(shares, p) for p in COMPARED}
            name, measure = f"adapter without {name}", "share"
        else:
            beside = self.errors(job, self.moved, relative)
            limits = {p: None if beside.get(column) is None else factor * beside[column] for p, (column, factor) in COMPARED.items()}
            error, measure = relative(value, self.values["f32"][job] - (self.noise[job.size, job.draw] if job.steps else 0)), job.measure
        times = {p: error / limit if error is not None and limit else None for p, limit in limits.items()}
        return {"mistake": name, "measure": measure, "error": error, "times": times}

    def tables(self):
        rows, mistakes = list(self.rows()), self.mistake_rows()
        return {**self.about, "rows": rows, "mistakes": mistakes}, markdown(self.about, self.columns, COMPARED, rows, mistakes)


def write(report, folder):
    """parity.json and parity.md; returns how many verdicts are pass, FAIL, open, missing, seen, NOT SEEN."""
    data, text = report.tables()
    data["verdicts"] = collections.Counter(v for row in data["rows"] for v in row["verdicts"].values())
    data["verdicts"].update(row["verdict"] for row in data["mistakes"] if row["verdict"] != "-")
    (folder / "parity.json").write_text(json.dumps(data, indent=1))
    (folder / "parity.md").write_text(text)
    return data["verdicts"]
