"""Errors, verdicts and tables from the tensors of all sides. Library only."""

import collections
import json

from parity_cases import CASES, Job

BF16_FACTOR = 1.5  # fluxswap bf16 may have this much of diffusers bf16's error; fluxswap fp8 may have the recipe's
STRENGTH_FLOOR = {"bf16": 0.01, "fp8": 0.03, "fp8-unmerged": 0.03, "fp8-folded": 0.03, "f32": 0.001}  # so far from 1 is always good enough
VISIBLE = 10  # a planted mistake must exceed so many tolerances
F32_LIMIT = 1e-4  # the tolerance of the golden tests
COMPARED = {"bf16": ("diffusers bf16", BF16_FACTOR), "fp8": ("recipe fp8", 1.0), "fp8-unmerged": ("recipe fp8", 1.0),
            "fp8-folded": ("recipe fp8", 1.0)}
SHARE_TOLERANCE = 0.08


def relative(value, truth):
    return float((value.double() - truth.double()).norm() / truth.double().norm().clamp_min(1e-300))


def projection(value, direction):
    """How much of `direction` is in `value`: 1 for all of it. Rounding is spread over all directions, so this sees far below it."""
    value, direction = value.double().flatten(), direction.double().flatten()
    return float(value @ direction / (direction @ direction).clamp_min(1e-300))


class Report:
    """`values`: column -> {job or slice name: tensor}; the truth is the column f32. `noise`: size -> tensor."""

    def __init__(self, values, noise, slices, about):
        self.values, self.noise, self.slices, self.about = values, noise, slices, about
        self.columns = [name for name in values if name != "f32"]
        self.mistakes = []  # (name, job, output or latents minus noise)

    def moved(self, column, job):
        """Output, or latents minus noise; None where the column has not got that far."""
        value = self.values.get(column, {}).get(job)
        return value - self.noise[job.size] if value is not None and isinstance(job, Job) and job.steps else value

    def change(self, column, job):
        """With adapters minus without."""
        with_, without = self.moved(column, job), self.moved(column, job._replace(case="none"))
        return None if with_ is None or without is None else with_ - without

    def rows(self):
        jobs = [job for job in self.values["f32"] if isinstance(job, Job)]
        for job in sorted(jobs, key=lambda job: (job.steps, list(self.noise).index(job.size), list(CASES).index(job.case))):
            yield self.row(job, job.measure, self.moved, relative)
            if job.case != "none" and self.change("f32", job) is not None:
                yield self.row(job, f"change of {job.measure}", self.change, relative)
                yield self.row(job, f"strength in {job.measure}", self.change, projection)
        yield from self.slice_rows()

    def row(self, job, measure, quantity, error):
        truth = quantity("f32", job)
        found = {column: quantity(column, job) for column in self.columns}
        errors = {column: None if value is None else error(value, truth) for column, value in found.items()}
        size = f"{job.size[0]}x{job.size[1]}"
        return {"case": job.case, "size": size, "measure": measure, "errors": errors, "verdicts": self.verdicts(errors, error)}

    def verdicts(self, errors, error):
        """One for each precision of fluxswap that has something to be held against."""
        made = {}
        for precision, (beside, factor) in COMPARED.items():
            mine, theirs = errors.get(f"fluxswap {precision}"), errors.get(beside)
            if mine is not None and theirs is not None:
                limit = factor * theirs
                if error is projection:
                    mine, limit = abs(mine - 1), max(factor * abs(theirs - 1), STRENGTH_FLOOR[precision])
                made[precision] = "pass" if mine <= limit else "FAIL"
            elif f"fluxswap {precision}" in errors:
                made[precision] = "missing"
        if errors.get("fluxswap f32") is not None and error is relative:
            made["f32"] = "pass" if errors["fluxswap f32"] <= F32_LIMIT else "FAIL"
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
            beside = self.row(job, "", self.moved, relative)["errors"]
            limits = {p: None if beside.get(column) is None else factor * beside[column] for p, (column, factor) in COMPARED.items()}
            error, measure = relative(value, self.values["f32"][job] - (self.noise[job.size] if job.steps else 0)), job.measure
        times = {p: error / limit if error is not None and limit else None for p, limit in limits.items()}
        return {"mistake": name, "measure": measure, "error": error, "times": times}

    def tables(self):
        rows, mistakes = list(self.rows()), self.mistake_rows()
        return {**self.about, "rows": rows, "mistakes": mistakes}, markdown(self.about, self.columns, rows, mistakes)


def number(value):
    return "-" if value is None else f"{value:.2e}" if abs(value) < 0.1 else f"{value:.3f}"


def markdown(about, columns, rows, mistakes):
    """Errors are norms of differences from f32 over norms of f32; strength and share are 1 where all is right."""
    lines = [f"{key}: {value}" for key, value in about.items() if isinstance(value, (str, float, int))] + [""]
    lines.append("| case | size | measure | " + " | ".join(columns) + " | verdict |")
    lines.append("|" + "---|" * (len(columns) + 4))
    for row in rows:
        verdict = ", ".join(f"{precision} {result}" for precision, result in row["verdicts"].items()) or "-"
        cells = [row["case"], row["size"], row["measure"], *(number(row["errors"][column]) for column in columns), verdict]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", "| planted mistake | measure | error | times bf16's tolerance | times fp8's | verdict |", "|---|---|---|---|---|---|"]
    for row in mistakes:
        times = " | ".join("-" if value is None else f"{value:.1f}" for value in row["times"].values())
        lines.append(f"| {row['mistake']} | {row['measure']} | {number(row['error'])} | {times} | {row['verdict']} |")
    return "\n".join(lines) + "\n"


def write(report, folder):
    """parity.json and parity.md; returns how many verdicts are pass, FAIL, missing, seen, NOT SEEN."""
    data, text = report.tables()
    data["verdicts"] = collections.Counter(v for row in data["rows"] for v in row["verdicts"].values())
    data["verdicts"].update(row["verdict"] for row in data["mistakes"] if row["verdict"] != "-")
    (folder / "parity.json").write_text(json.dumps(data, indent=1))
    (folder / "parity.md").write_text(text)
    return data["verdicts"]
