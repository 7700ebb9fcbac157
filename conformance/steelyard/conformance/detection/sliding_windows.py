"""Contract of sliding windows.

Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005, section 6.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import Bench, bad_option, purity, refuses, value
from steelyard.conformance.contract import (
    Array,
    Case,
    Kind,
    Level,
    Mutant,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import option
from steelyard.reference.detection.sliding_windows import sliding_windows as oracle

_FLOAT32 = ("float32",)  # numbers in, whole numbers out
_RIGHT: Callable[..., Any] = oracle


def image(draw: Draw) -> Case:
    """A small image, a window that fits, and strides that reach the end or do not."""
    window = {"window_height": draw.integer(1, 5), "window_width": draw.integer(1, 5)}
    options: dict[str, OptionValue] = {
        "height": window["window_height"] + draw.integer(0, 7), "width": window["window_width"] + draw.integer(0, 7),
        **window, "stride": draw.choice((2, 1, 3, 8)),
    }  # fmt: skip
    return Case({}, options, draw.dtype(_FLOAT32))


def too_small(draw: Draw) -> Case:
    """An image lower or narrower than the window."""
    side = draw.choice(("height", "width"))
    return image(draw).with_options(**{side: 2, f"window_{side}": 2 + draw.integer(1, 4)})


def photograph(seed: int) -> Case:
    """The windows of pedestrians in a photograph."""
    options: dict[str, OptionValue] = {
        "height": 480, "width": 640, "window_height": 128, "window_width": 64, "stride": 8,
    }  # fmt: skip
    return Case({}, options, "float32", origin=f"photograph {seed}")


def _rest(case: Case) -> bool:
    return (option(case, "width") - option(case, "window_width")) % option(case, "stride") != 0


def inside(bench: Bench, case: Case) -> None:
    """Every window has its size and lies in the image."""
    windows = bench.evaluate(case).outputs[0]
    size = [case.options["window_width"], case.options["window_height"]]
    limit = [case.options["width"], case.options["height"]]
    fits = (windows[:, 2:] - windows[:, :2] == size).all() and (windows[:, :2] >= 0).all()
    bench.expect(bool(fits and (windows[:, 2:] <= limit).all()), "a window sticks out or has another size", case)


def windows(
    *, last: Callable[[int, int, int], list[int]] | None = None, columns_first: bool = False, plus: int = 0
) -> Callable[..., Array]:
    """Windows with something changed, after the specification's checks; `last` gives the positions along a side."""

    def positions(side: int, window: int, stride: int) -> list[int]:
        return list(range(0, side - window + 1, stride)) if last is None else last(side, window, stride)

    def mutant(**o: Any) -> Array:  # noqa: ANN401
        _RIGHT(**o)
        h, w = o["window_height"], o["window_width"]
        rows, columns = positions(o["height"], h, o["stride"]), positions(o["width"], w, o["stride"])
        places = [(x, y) for x in columns for y in rows] if columns_first else [(x, y) for y in rows for x in columns]
        return np.array([(x, y, x + w - plus, y + h - plus) for x, y in places], dtype=np.float64).reshape(-1, 4)

    return mutant


def _exchanged(**o: Any) -> Array:  # noqa: ANN401
    return np.asarray(_RIGHT(**{**o, "window_height": o["window_width"], "window_width": o["window_height"]}))


def _at_the_edge(side: int, window: int, stride: int) -> list[int]:
    return sorted({*range(0, side - window + 1, stride), side - window}) if window <= side else []


SLIDING_WINDOWS = Technique(
    id="sliding_windows",
    title="Sliding windows",
    family="detection",
    summary="Every position of a window that lies in the image, on a grid of strides.",
    sources=('Dalal and Triggs, "Histograms of Oriented Gradients for Human Detection", CVPR 2005, section 6',),
    oracle=_RIGHT,
    arguments=(),
    options=(
        Option("height", 480, "pixels of the image"), Option("width", 640, "the same"),
        Option("window_height", 128, "pixels of the window"), Option("window_width", 64, "the same"),
        Option("stride", 8, "pixels from one window to the next"),
    ),
    outputs=(Output("windows", ("N", "4"), "float", "x1, y1, x2, y2, row by row"),),
    requirements=(
        Requirement("SLIDE-1", Level.MUST, Kind.VALUE, "Windows stand at 0, s, 2s, ... while they lie in the image, "
                    "row by row.", "section 6", value, image, scenes=(photograph,), dtypes=_FLOAT32,
                    reaches={"a rest at the border": _rest}),
        Requirement("SLIDE-2", Level.MUST, Kind.EMPTY, "A window that does not fit has no position.", "section 6",
                    value, too_small, dtypes=_FLOAT32, examples=0.3),
        Requirement("SLIDE-3", Level.MUST, Kind.BOUND, "Every window has its size and lies in the image.", "section 6",
                    inside, image, dtypes=_FLOAT32, examples=0.3,
                    no_mutant="implied by SLIDE-1; kept because a failure then names the law that is broken"),
        Requirement("SLIDE-4", Level.MUST, Kind.PURITY, "Equal calls give equal bits.", "house rule", purity, image,
                    dtypes=_FLOAT32, examples=0.2, no_mutant="a function of numbers has little to be impure with"),
        Requirement("SLIDE-5", Level.MAY, Kind.ERROR, "A stride of 0 and a window without pixels are refused.",
                    "house rule", refuses(bad_option("stride", 0), bad_option("window_height", 0)), image,
                    dtypes=_FLOAT32, examples=0.2),
    ),
    mutants=(
        Mutant("windows/last-lost", "the window at the very end left out", windows(
            last=lambda side, window, stride: list(range(0, side - window, stride)))),
        Mutant("windows/cut-off", "windows that stick out at the end", windows(
            last=lambda side, window, stride: list(range(0, side, stride)) if window <= side else [])),
        Mutant("windows/at-the-edge", "one more window at the border of the image", windows(last=_at_the_edge)),
        Mutant("windows/one-anyway", "one window where none fits", windows(
            last=lambda side, window, stride: list(range(0, max(side - window, 0) + 1, stride)))),
        Mutant("windows/columns-first", "column by column", windows(columns_first=True)),
        Mutant("windows/last-pixel", "the last pixel in place of the end", windows(plus=1),
               seen_in="code that counts inclusive pixels"),
        Mutant("windows/exchanged", "height and width of the window exchanged", _exchanged),
        Mutant("windows/unchecked", "no check of its options", mistakes.unchecked(
            _RIGHT, stride=lambda n: max(n, 1), window_height=lambda n: max(n, 1))),
    ),
    rulings=(Ruling("rest", "What is left at the right and lower border has no window of its own."),),
    not_applicable={
        Kind.GRADIENT: "windows are constants", Kind.DETACHED: "windows are constants", Kind.LIMIT: "no limit",
        Kind.REDUCES_TO: "nothing simpler to reduce to", Kind.INVARIANCE: "SLIDE-1 says it all",
        Kind.CONSERVATION: "SLIDE-1 demands the number of windows", Kind.TIES: "a window that just fits: SLIDE-1",
        Kind.EXTREME: "no array goes in", Kind.BATCH: "windows are the same for every image of a size",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
