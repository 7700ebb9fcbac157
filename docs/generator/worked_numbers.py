"""Numbers of a page, computed when the site is built: what the oracle answers on a small input of the suite."""

from __future__ import annotations

from functools import cache

import numpy as np

from steelyard.conformance.contract import Array, Case, Technique
from steelyard.conformance.generation import SeededDraw

LARGEST = 16
"""Numbers in an array of a worked input; where every input is larger, the smallest one is taken."""
SEEDS = 60
LINES = 24
"""Of a longer array the ends are shown."""


def session(technique: Technique) -> str:
    """A small input that the first requirement's generator draws, and the oracle's answer to it."""
    case = worked_case(technique.requirements[0].cases)
    lines = [_assigned(name, array) for name, array in case.arguments.items()]
    options = [f"{name}={value!r}" for name, value in case.options.items()]
    lines += ["", f"{technique.oracle.__name__}({', '.join([*case.arguments, *options])})"]
    for output, answer in zip(technique.outputs, technique.evaluate(case), strict=True):
        lines += [f"# {output.name}", *_commented(answer)]
    for argument in technique.gradients:
        derivative = technique.evaluate_gradient(argument, Case(case.arguments, case.options, case.dtype))
        lines += [f"# derivative of the sum of {technique.outputs[0].name} by {argument}", *_commented(derivative)]
    return "\n".join(lines)


@cache
def worked_case(cases: object) -> Case:
    """Of some drawn inputs of ordinary numbers the largest of at most 16 numbers an array, else the smallest."""
    drawn = [cases(SeededDraw(f"site {seed}", ("float64",))) for seed in range(SEEDS)]  # type: ignore[operator]
    ordinary = [
        case
        for case in drawn
        if all(np.all(np.abs(np.nan_to_num(array, nan=np.inf)) < 1e4) for array in case.arguments.values())
    ]
    return max(ordinary or drawn, key=_rank)


def _rank(case: Case) -> tuple[bool, int]:
    sizes = [array.size for array in case.arguments.values()]
    fits = max(sizes, default=0) <= LARGEST
    return fits, sum(sizes) if fits else -sum(sizes)


def _assigned(name: str, array: Array) -> str:
    return f"{name} = {_shown(array, prefix=f'{name} = ')}"


def _commented(array: Array) -> list[str]:
    return [f"#   {line}" for line in _shown(array).split("\n")]


def _shown(array: Array, prefix: str = "") -> str:
    values = np.asarray(array)
    if not values.ndim:
        return repr(values.item())
    text = np.array2string(values, precision=6, max_line_width=88, separator=", ", prefix=prefix, threshold=10_000)
    lines = text.split("\n")
    if len(lines) > LINES:
        left_out = f"{' ' * len(prefix)} ... {len(lines) - LINES} lines more ..."
        lines = [*lines[: LINES // 2], left_out, *lines[-LINES // 2 :]]
    return "\n".join(lines)
