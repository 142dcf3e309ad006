"""Means, standard errors and verdicts from the errors of several draws of the inputs. Library only.

A draw's noise and embeddings are the same for every column, so columns are compared draw by draw: the mean of the ratios of two
columns' errors varies less than the ratio of two means. Where one draw was asked for, a verdict is whether the error is within its
limit. Where several were, it asks what luck cannot explain: `pass` where the mean ratio plus its margin is within the limit, `FAIL`
where the mean minus its margin is beyond, else `open`. The margin is the standard error times Student's t: of ratios right at the
limit one in twenty is called FAIL, and one pass. Of a single draw of several, the only one there was time for, nothing is known.
"""

import math

# 95 % on one side, for 1, 2, ... degrees of freedom.
STUDENT = (6.314, 2.920, 2.353, 2.132, 2.015, 1.943, 1.895, 1.860, 1.833)
STUDENT_OF_MORE = 1.83


def mean(values):
    return math.fsum(values) / len(values)


def standard_error(values):
    """Of the mean; None for a single value."""
    if len(values) == 1:
        return None
    middle = mean(values)
    return (sum((value - middle) ** 2 for value in values) / (len(values) - 1) / len(values)) ** 0.5


def summary(values):
    return {"mean": mean(values), "error": standard_error(values), "draws": len(values)} if values else None


def margin(values):
    """What luck may add to the mean of so many values."""
    freedom = len(values) - 1
    if freedom < 1:
        return math.inf
    return standard_error(values) * (STUDENT[freedom - 1] if freedom <= len(STUDENT) else STUDENT_OF_MORE)


def both(each, mine, theirs):
    """The two columns' errors of the draws that both have; `each`: draw -> {column: error or None}."""
    pairs = [(errors.get(mine), errors.get(theirs)) for errors in each.values()]
    return [pair for pair in pairs if None not in pair]


def ratios(pairs):
    return [mine / max(theirs, 1e-300) for mine, theirs in pairs]


def judge(value, slack, limit):
    """`slack`: luck's part of the value. NaN fails."""
    return "pass" if value + slack <= limit else "open" if value - slack <= limit else "FAIL"


def verdict_on_error(pairs, factor, several):
    """No more than `factor` times theirs. `several`: more draws than one were asked for."""
    if not several:
        return judge(pairs[0][0], 0.0, factor * pairs[0][1])
    values = ratios(pairs)
    return judge(mean(values), margin(values), factor)


def verdict_on_strength(pairs, factor, floor, several):
    """Strengths are right at 1; the mean may be as far from it as `factor` times theirs, and always as far as `floor`."""
    mine, theirs = ([pair[side] for pair in pairs] for side in (0, 1))
    return judge(abs(mean(mine) - 1), margin(mine) if several else 0.0, max(factor * abs(mean(theirs) - 1), floor))


def shared_draws(each, compared):
    """A row's draws: those that each of the compared columns has."""
    return [draw for draw, errors in each.items() if all(errors.get(column) is not None for column in compared)]
