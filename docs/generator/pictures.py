"""A picture for each technique, drawn when the site is built from the worked example of its page.

Where the answer is boxes or points, the picture shows where they lie. Otherwise one number of the example moves, all
else stays, and the picture shows what the reference answers: curves for numbers, with the derivative beside them where
there is one, and rows for choices.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import chain, pairwise
from typing import Any, NamedTuple

import numpy as np
from generator.worked_numbers import worked_case
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from steelyard.conformance.contract import Case, Technique
from steelyard.conformance.generation import SeededDraw

Float = NDArray[np.float64]

PLACES = ("boxes", "clipped", "windows", "anchors", "box", "points")
"""Outputs that are places in an image: x1, y1, x2, y2, or x, y."""
GIVEN = ("boxes", "gt_boxes", "points")
"""Arguments that are such places, shown beside the answer."""
STEPS, GLIMPSES, ELEMENTS, TRIES, CURVES, ROWS, DRAWN = 161, 7, 16, 40, 6, 40, 150


class Picture(NamedTuple):
    """A figure and the sentence below it."""

    figure: Figure
    caption: str


def picture(technique: Technique) -> Picture:
    """The picture of a technique."""
    case = worked_case(technique.requirements[0].cases)
    answers = zip(technique.outputs, technique.evaluate(case), strict=True)
    found = [(output.name, _real_places(answer)) for output, answer in answers if output.name in PLACES and answer.ndim]
    places = [(name, where) for name, where in found if len(where)]
    return _where(case, places) if places else _response(technique)


# --- places -----------------------------------------------------------------------------------------------------


def _where(case: Case, places: list[tuple[str, Float]]) -> Picture:
    figure = Figure(figsize=(6.0, 4.2), layout="constrained")
    axes = figure.subplots()
    there = ((name, _real_places(array)) for name, array in case.arguments.items() if name in GIVEN)
    given = [(name, where) for name, where in there if len(where)]
    for name, where in given:
        _draw(axes, where, f"{name} (given)", color="0.45", linestyle="--", marker="x")
    for number, (name, where) in enumerate(places):
        chosen = where[np.linspace(0, len(where) - 1, min(len(where), DRAWN)).astype(int)]
        shown = name if len(chosen) == len(where) else f"{name}, {len(chosen)} of {len(where)}"
        _draw(axes, chosen, shown, color=f"C{number}", linestyle="-", marker="o")
    axes.set(xlabel="x", ylabel="y")
    axes.margins(0.08)
    axes.set_aspect("equal", adjustable="datalim")
    axes.invert_yaxis()
    axes.legend(fontsize=8, loc="upper left", bbox_to_anchor=(1.0, 1.0))
    beside = f", dashed or crossed: {', '.join(name for name, _ in given)}" if given else ""
    return Picture(figure, f"The answer to the worked example, in the image{beside}.")


def _real_places(array: Any) -> Float:  # noqa: ANN401
    """One place a row; what fills up (no extent, not finite) is left out, and so is what is no place."""
    if array.shape[-1] not in (2, 4):
        return np.zeros((0, 4))
    rows: Float = np.asarray(array, dtype=np.float64).reshape(-1, array.shape[-1])
    rows = rows[np.isfinite(rows).all(axis=1)]
    return rows if rows.shape[1] == 2 else rows[(rows[:, 2:] > rows[:, :2]).all(axis=1)]


def _draw(axes: Axes, where: Float, label: str, *, color: str, linestyle: str, marker: str) -> None:
    if where.shape[-1] == 2:
        axes.plot(where[:, 0], where[:, 1], marker, color=color, markersize=4, label=label)
        return
    width = 0.5 if len(where) > 30 else 1.4
    for number, (x1, y1, x2, y2) in enumerate(where):
        axes.add_patch(
            Rectangle((x1, y1), x2 - x1, y2 - y1, fill=False, edgecolor=color, linestyle=linestyle, linewidth=width,
                      label=label if not number else None)
        )  # fmt: skip
    axes.update_datalim(where.reshape(-1, 2))
    axes.autoscale_view()


# --- one number moves ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Knob:
    """A number of the example, and where it may go."""

    name: str
    index: tuple[int, ...] | None
    """None for an option."""
    values: Float

    @property
    def label(self) -> str:
        """As one writes it."""
        return self.name + (f"[{', '.join(map(str, self.index))}]" if self.index else "")

    def turned(self, case: Case, value: float) -> Case:
        """The example with this number changed."""
        if self.index is None:
            option = int(value) if isinstance(case.options[self.name], int) else float(value)
            return case.with_options(**{self.name: option})
        array = case.arguments[self.name].copy()
        array[self.index] = value
        return case.with_arguments(**{self.name: array})


def _response(technique: Technique) -> Picture:
    case, knob, example = _telling(technique)
    answers = [_answers(technique, knob.turned(case, value)) for value in knob.values]
    derivative = _derivative(technique, case, knob)
    figure = Figure(figsize=(9.0 if derivative is not None else 6.0, 3.4), layout="constrained")
    left, *right = np.atleast_1d(figure.subplots(1, 1 + (derivative is not None)))
    labels, curves = _changing(technique, case, answers)
    kinds = {output.dtype for output in technique.outputs}
    if "float" not in kinds and len(labels) > (1 if kinds == {"bool"} else CURVES):
        shown = curves[:, :ROWS].T
        low, high = knob.values[[0, -1]]
        half = 0.5 * (knob.values[1] - low)
        left.imshow(
            np.ma.masked_invalid(shown), aspect="auto", interpolation="nearest", cmap="viridis",
            extent=(low - half, high + half, len(shown) - 0.5, -0.5),
        )  # fmt: skip
        left.set_yticks(range(len(shown)), labels[:ROWS], fontsize=7)
        left.grid(visible=False)
        said = "Rows are elements of the answer that change, bright where they are largest"
    else:
        steps = "steps-mid" if _is_whole(knob.values) or "float" not in kinds else "default"
        for label, curve in list(zip(labels, curves.T, strict=True))[:CURVES]:
            left.plot(knob.values, curve, label=label, drawstyle=steps)
        left.legend(fontsize=8)
        said = "Curves are elements of the answer that change"
    left.set(xlabel=knob.label)
    if derivative is not None:
        right[0].plot(knob.values, derivative, color="C3")
        right[0].set(xlabel=knob.label, ylabel=f"derivative of the sum of {technique.outputs[0].name}")
        said += "; right, the derivative of their sum"
    gaps = ", gaps where the reference refuses the input" if np.isnan(curves).any() else ""
    span = f"from {knob.values[0]:.4g} to {knob.values[-1]:.4g}"
    return Picture(figure, f"`{knob.label}` of {example} moves {span}, all else stays. {said}{gaps}.")


def _telling(technique: Technique) -> tuple[Case, Knob, str]:
    """An example and a number of it on which the answer depends; the worked one, if it has such a number."""
    cases = technique.requirements[0].cases
    others = (cases(SeededDraw(f"picture {seed}", ("float64",))) for seed in range(TRIES))
    for case, example in chain(
        [(worked_case(cases), "the worked example")], ((c, "an input of the suite") for c in others)
    ):
        for knobs in _knobs(technique, case):
            changes, knob = max(((_changes(technique, case, knob), knob) for knob in knobs), key=lambda found: found[0])
            if changes > (0, 0):
                return case, knob, example
    raise ValueError(f"{technique.id}: nothing changes the answer to {TRIES} inputs")


def _changes(technique: Technique, case: Case, knob: Knob) -> tuple[int, int]:
    """In how many of a few steps the answer changes, and how many of its elements do; 0 if most are refused."""
    glimpses = knob.values[np.linspace(0, len(knob.values) - 1, GLIMPSES).astype(int)]
    seen = [_flat(_answers(technique, knob.turned(case, value))) for value in glimpses]
    valid = [one for one in seen if one is not None]
    if len({one.shape for one in valid}) != 1 or len(valid) <= GLIMPSES // 2:
        return 0, 0
    spread = np.stack(valid)
    steps = sum(bool((one != other).any()) for one, other in pairwise(spread))
    return steps, int((spread != spread[0]).any(axis=0).sum())


def _knobs(technique: Technique, case: Case) -> Iterator[list[Knob]]:
    """What can be turned, by argument, the most natural first: what is differentiated, other floats, counts, keys."""
    order = {"float": 0, "int": 1}
    turned = [argument for argument in technique.arguments if argument.dtype in order]
    for argument in sorted(turned, key=lambda a: (not a.differentiable, a.is_key, order[a.dtype])):
        array = case.arguments[argument.name]
        if array.size:
            values = _values(array, whole=argument.dtype == "int")
            yield [Knob(argument.name, index, values) for index in list(np.ndindex(array.shape))[:ELEMENTS]]
    for name, value in case.options.items():
        if isinstance(value, int | float) and not isinstance(value, bool):
            yield [Knob(name, None, _values(np.array([value]), whole=isinstance(value, int)))]


def _values(array: Any, *, whole: bool) -> Float:  # noqa: ANN401
    """A span that holds the numbers of the array with some room, within [0, 1] or above 0 where they are."""
    low, high = float(np.min(array)), float(np.max(array))
    if whole:
        ends = min(low, 0.0), 2.0 * high + 2.0
        return np.unique(np.round(np.linspace(*ends, STEPS)))
    if low >= 0.0 and high <= 1.0:
        return np.linspace(0.0, 1.0, STEPS)
    room = 0.25 * (high - low) or max(abs(high), 1.0)
    return np.linspace(max(low - room, 0.0) if low >= 0.0 else low - room, high + room, STEPS)


def _answers(technique: Technique, case: Case) -> list[Float] | None:
    """None where the reference refuses the input."""
    try:
        return [np.asarray(answer, dtype=np.float64) for answer in technique.evaluate(case)]
    except (ValueError, IndexError, FloatingPointError):
        return None


def _flat(answers: list[Float] | None) -> Float | None:
    return None if answers is None else np.concatenate([answer.ravel() for answer in answers])


def _changing(technique: Technique, case: Case, answers: list[list[Float] | None]) -> tuple[list[str], Float]:
    """Names and courses of the elements that change; floats that change most first, if there are floats."""
    here = technique.evaluate(case)
    names = [
        (output, output.name + (f"[{', '.join(map(str, index))}]" if index else ""))
        for output, answer in zip(technique.outputs, here, strict=True)
        for index in np.ndindex(np.shape(answer))
    ]
    flat = [_flat(answer) for answer in answers]
    course = np.stack([
        one if one is not None and len(one) == len(names) else np.full(len(names), np.nan) for one in flat
    ])  # fmt: skip
    course[~np.isfinite(course)] = np.nan
    floats = any(output.dtype == "float" for output in technique.outputs)
    with np.errstate(invalid="ignore"):
        span = np.array([np.ptp(c[~np.isnan(c)]) if not np.isnan(c).all() else 0.0 for c in course.T])
    kept = [k for k in range(len(names)) if span[k] > 0.0 and (names[k][0].dtype == "float") >= floats]
    kept = kept or [k for k in range(len(names)) if span[k] > 0.0]
    if floats:
        kept = sorted(sorted(kept, key=lambda k: -span[k])[:CURVES])
    return [names[k][1] for k in kept], course[:, kept]


def _derivative(technique: Technique, case: Case, knob: Knob) -> Float | None:
    if knob.name not in technique.gradients or knob.index is None:
        return None
    found = []
    for value in knob.values:
        try:
            whole = technique.evaluate_gradient(knob.name, replace(knob.turned(case, value), cotangent=None))
            found.append(float(whole[knob.index]))
        except ValueError:
            found.append(np.nan)
    return np.array(found)


def _is_whole(values: Float) -> bool:
    return bool((values == np.round(values)).all())
