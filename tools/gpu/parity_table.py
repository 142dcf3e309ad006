"""The tables of parity.md. Library only."""

ABOUT_DRAWS = """Means over draws of the inputs ± their standard errors; ratios of errors, draw by draw, ± theirs.
pass and FAIL: more than luck explains (95 %); open: neither.
"""


def number(value):
    return "-" if value is None else f"{value:.2e}" if abs(value) < 0.1 else f"{value:.3f}"


def spread_cell(found, draws, percent):
    """Mean, standard error, and how many draws where that is not the row's number."""
    if found is None:
        return "-"
    text = number(found["mean"]) if percent else f"{found['mean']:.3f}"
    if found["error"] is not None:
        text += f" ± {100 * found['error'] / abs(found['mean'] or 1):.1f} %" if percent else f" ± {found['error']:.3f}"
    return text + (f" ({found['draws']})" if found["draws"] != draws else "")


def line(cells):
    return "| " + " | ".join(cells) + " |"


def cells_of(row, columns, ratios):
    """What stands between the measure and the verdict; slices have one draw."""
    if ratios is None:
        return [number(row["errors"][column]) for column in columns]
    more = row.get("draws")
    if more is None:
        return ["1", *(number(row["errors"][column]) for column in columns), *("-" for _ in ratios)]
    used = len(more["used"])
    return [str(used), *(spread_cell(more["columns"][column], used, True) for column in columns),
            *(spread_cell(more["ratios"][precision], used, False) for precision in ratios)]


def markdown(about, columns, compared, rows, mistakes):
    """Errors are norms of differences from f32 over norms of f32; strength and share are 1 where all is right."""
    several = any("draws" in row for row in rows)
    ratios = [precision for precision in compared if f"fluxswap {precision}" in columns] if several else None
    heads = ["draws", *columns, *(f"fluxswap {p} / {compared[p][0]}" for p in ratios)] if several else columns
    lines = [f"{key}: {value}" for key, value in about.items() if isinstance(value, (str, float, int))] + [""]
    lines += [ABOUT_DRAWS] if several else []
    lines += [line(["case", "size", "measure", *heads, "verdict"]), "|" + "---|" * (len(heads) + 4)]
    for row in rows:
        verdict = ", ".join(f"{precision} {result}" for precision, result in row["verdicts"].items()) or "-"
        lines.append(line([row["case"], row["size"], row["measure"], *cells_of(row, columns, ratios), verdict]))
    lines += ["", "| planted mistake | measure | error | times bf16's tolerance | times fp8's | verdict |", "|---|---|---|---|---|---|"]
    for row in mistakes:
        times = ["-" if row["times"][p] is None else f"{row['times'][p]:.1f}" for p in ("bf16", "fp8")]
        lines.append(line([row["mistake"], row["measure"], number(row["error"]), *times, row["verdict"]]))
    return "\n".join(lines) + "\n"
