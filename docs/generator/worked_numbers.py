"""Numbers of a page, computed when the site is built: what the oracle answers on a small input of the suite."""

from __future__ import annotations

import numpy as np

from steelyard.conformance.contract import Array, Case, Technique
from steelyard.conformance.generation import SeededDraw

LARGEST = 16
SEEDS = 60
np_options = {"precision": 6, "suppress_small": False, "max_line_width": 88, "separator": ", "}


def worked_case(technique: Technique) -> str:
    """A session: a small input that the first requirement's generator draws, and the oracle's answer to it."""
    case = _smallest_telling(technique)
    if case is None:
        return ""
    lines = [f"{name} = {_shown(array)}" for name, array in case.arguments.items()]
    options = ", ".join(f"{name}={value!r}" for name, value in case.options.items())
    call = ", ".join([*case.arguments, *([options] if options else [])])
    lines += ["", f"{technique.oracle.__name__}({call})"]
    for output, answer in zip(technique.outputs, technique.evaluate(case), strict=True):
        lines.append(f"# {output.name}")
        lines += [f"#   {line}" for line in _shown(answer).split("\n")]
    for argument in technique.gradients:
        derivative = technique.evaluate_gradient(argument, Case(case.arguments, case.options, case.dtype))
        lines.append(f"# derivative of the sum of {technique.outputs[0].name} by {argument}")
        lines += [f"#   {line}" for line in _shown(derivative).split("\n")]
    return "\n".join(lines)


def _smallest_telling(technique: Technique) -> Case | None:
    """Of some drawn inputs the largest of at most 16 numbers an array, as long as something is in it."""
    best, size = None, 0
    for seed in range(SEEDS):
        case = technique.requirements[0].cases(SeededDraw(f"site {seed}", ("float64",)))
        sizes = [array.size for array in case.arguments.values()]
        ordinary = all(np.all(np.abs(np.nan_to_num(array, nan=np.inf)) < 1e4) for array in case.arguments.values())
        if sizes and ordinary and max(sizes) <= LARGEST and sum(sizes) > size:
            best, size = case, sum(sizes)
    return best


def _shown(array: Array) -> str:
    values = np.asarray(array)
    return np.array2string(values, **np_options) if values.ndim else repr(values.item())
