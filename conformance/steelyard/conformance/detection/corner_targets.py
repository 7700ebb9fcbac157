"""Contracts of the targets of corner heat maps: the radius of a corner, and the bumps around corners.

Law and Deng, "CornerNet", ECCV 2018 (arXiv 1808.01244), section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import Bench, bad_option, bad_shape, padding, purity, refuses, same_as, value
from steelyard.conformance.contract import (
    Argument,
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
from steelyard.conformance.precision import round_to
from steelyard.conformance.real_data import annotated_photograph
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.reference.detection import corner_targets as oracle

_PAPER = 'Law and Deng, "CornerNet", ECCV 2018, arXiv 1808.01244, section 3.2'
_IMPLIED = "implied by {}-1; kept because a failure then names the law that is broken"
_FEW = 4.0
Function = Callable[..., Any]

# --- radius: inputs -------------------------------------------------------------------------------------------


def _sides(draw: Draw, sizes: tuple[float, ...], dtypes: tuple[str, ...] = FULL) -> Case:
    shape = (draw.integer(1, 5),)
    dtype = draw.dtype(dtypes)
    sides = {name: round_to(dtype, draw.array(shape, lambda: draw.choice(sizes))) for name in ("heights", "widths")}
    return Case(sides, {"minimum_iou": draw.choice((0.3, 0.7, 0.5, 0.1, 0.9))}, dtype)


def boxes(draw: Draw) -> Case:
    """Boxes of a heat map, near to square or twice as long."""
    return _sides(draw, (20.0, 30.0, 1.0, 4.0, 12.5, 64.0, 128.0, 0.75))


def long_boxes(draw: Draw) -> Case:
    """Boxes up to ten thousand times as long as wide: b - root cancels."""
    return _sides(draw, (0.0625, 1000.0, 640.0, 0.5))


def half_boxes(draw: Draw) -> Case:
    """Boxes whose area float16 does not hold."""
    return _sides(draw, (512.0, 20.0, 640.0, 256.0), HALF)


def without_a_side(draw: Draw) -> Case:
    """Lines and points."""
    return _sides(draw, (0.0, 0.0, 8.0))


def no_box(draw: Draw) -> Case:
    """No box at all."""
    case = boxes(draw)
    return case.with_arguments(**{name: np.zeros(0) for name in case.arguments})


def of_a_photograph(seed: int) -> Case:
    """The boxes of some photographs, in cells of 4 pixels."""
    found = np.concatenate([annotated_photograph(32 * seed + k).boxes for k in range(32)]) / 4.0
    arguments = {"heights": found[:, 3] - found[:, 1], "widths": found[:, 2] - found[:, 0]}
    arguments = {name: round_to("float32", sides) for name, sides in arguments.items()}
    return Case(arguments, {"minimum_iou": 0.3}, "float32", origin=f"photographs {seed}")


# --- radius: laws ---------------------------------------------------------------------------------------------


def ious_at(r: Array, h: Array, w: Array) -> Array:
    """IoU with the box when both corners move by r in one direction, both inwards, both outwards; shape (3, N)."""
    inwards = np.maximum(h - 2 * r, 0.0) * np.maximum(w - 2 * r, 0.0)
    moved = np.maximum(h - r, 0.0) * np.maximum(w - r, 0.0)
    return np.stack([moved / (2 * h * w - moved), inwards / (h * w), h * w / ((h + 2 * r) * (w + 2 * r))])


def worst_iou_is_the_minimum(bench: Bench, case: Case) -> None:
    """Of the three ways to move the corners by the radius, the worst has the minimum IoU."""
    radius = bench.evaluate(case).outputs[0].astype(np.float64)
    worst = ious_at(radius, case.arguments["heights"], case.arguments["widths"]).min(axis=0)
    wanted = option(case, "minimum_iou")
    off = float(np.abs(worst - wanted).max(initial=0.0))
    bench.expect(off < 1e-3, f"a worst IoU of {worst.tolist()}, expected {wanted}", case)


def _exchanged(case: Case) -> Case:
    return case.with_arguments(heights=case.arguments["widths"], widths=case.arguments["heights"])


def _doubled(case: Case) -> Case:
    return case.with_arguments(**{name: 2.0 * sides for name, sides in case.arguments.items()})


def _cancellation(case: Case, u: float) -> Array:
    """(b - root) / 2a formed as such: a roundoff of b and of the root, by 2a, which is 2, 8 and 8 t."""
    b = case.arguments["heights"] + case.arguments["widths"]
    return np.asarray(_FEW * u * b * (1.0 + 1.0 / option(case, "minimum_iou")))


# --- radius: mutants ------------------------------------------------------------------------------------------

_RADIUS = oracle.corner_radius


def _roots(h: Array, w: Array, t: float) -> tuple[Array, Array, Array]:
    b, q = h + w, h * w
    r_1 = (b - np.sqrt((h - w) ** 2 + 8 * q * t / (1 + t))) / 2
    r_2 = (b - np.sqrt((h - w) ** 2 + 4 * q * t)) / 4
    r_3 = (np.sqrt((t * b) ** 2 + 4 * q * t * (1 - t)) - t * b) / (2 * t) / 2
    return r_1, r_2, r_3


def _radius(change: Callable[[Array, Array, float], Array]) -> Function:
    def mutant(heights: Array, widths: Array, *, minimum_iou: float) -> Array:
        _RADIUS(heights, widths, minimum_iou=minimum_iou)
        h, w = np.asarray(heights, dtype=np.float64), np.asarray(widths, dtype=np.float64)
        return np.asarray(change(h, w, minimum_iou))

    return mutant


def _centernet(h: Array, w: Array, t: float) -> Array:
    """(b + root) / 2 for all three, as widespread copies have it."""
    b, q = h + w, h * w
    r_1 = (b + np.sqrt(b**2 - 4 * q * (1 - t) / (1 + t))) / 2
    r_2 = (2 * b + np.sqrt(4 * b**2 - 16 * (1 - t) * q)) / 2
    r_3 = (-2 * t * b + np.sqrt(4 * t**2 * b**2 + 16 * t * (1 - t) * q)) / 2
    return np.minimum(np.minimum(r_1, r_2), r_3)


def _own_area(heights: Array, widths: Array, *, minimum_iou: float) -> Array:
    """The area in the format of the sides."""
    with np.errstate(over="ignore"):
        lost = np.isinf(heights * widths)
    return np.where(lost, np.nan, _RADIUS(heights, widths, minimum_iou=minimum_iou))


_RADIUS_MUTANTS = (
    Mutant("corner-radius/lost-2a", "roots by 2 in place of 2a", _radius(_centernet), seen_in="CenterNet's copies"),
    Mutant("corner-radius/largest", "the largest of the three", _radius(lambda h, w, t: np.max(_roots(h, w, t), 0))),
    Mutant("corner-radius/one-direction", "corners moved in one direction only", _radius(
        lambda h, w, t: _roots(h, w, t)[0])),
    Mutant("corner-radius/outwards", "corners moved outwards only", _radius(lambda h, w, t: _roots(h, w, t)[2])),
    Mutant("corner-radius/floored", "the radius rounded down", lambda **k: np.floor(_RADIUS(**k))),
    Mutant("corner-radius/complement", "1 - t in place of t", _radius(
        lambda h, w, t: _RADIUS(h, w, minimum_iou=1 - t))),
    Mutant("corner-radius/at-least-one", "sides of at least 1", _radius(
        lambda h, w, t: _RADIUS(np.maximum(h, 1.0), np.maximum(w, 1.0), minimum_iou=t))),
    Mutant("corner-radius/zero-by-zero", "NaN for a point", _radius(
        lambda h, w, t: np.where(h + w > 0, _RADIUS(h, w, minimum_iou=t), np.nan))),
    Mutant("corner-radius/float16", "areas in float16", _own_area),
    Mutant("corner-radius/float32-roots", "b - root in float32", _radius(lambda h, w, t: np.where(
        (np.maximum(h, w) > 500 * np.minimum(h, w)) & (np.minimum(h, w) > 0), 0.0, _RADIUS(h, w, minimum_iou=t)))),
    Mutant("corner-radius/in-place", "its heights overwritten", mistakes.overwriting(_RADIUS, "heights")),
    Mutant("corner-radius/broadcast", "one width repeated", mistakes.broadcasting(_RADIUS, "widths", "heights")),
    Mutant("corner-radius/raises-on-empty", "an error without boxes", mistakes.failing_on_empty(_RADIUS, "heights")),
    Mutant("corner-radius/unchecked", "no check of the minimum IoU", mistakes.unchecked(
        _RADIUS, minimum_iou=lambda t: min(max(t, 0.01), 0.99))),
)  # fmt: skip

CORNER_RADIUS = Technique(
    id="corner_radius",
    title="Radius of a corner's target",
    family="detection",
    summary="How far the corners of a box may move until its IoU can fall below a minimum.",
    sources=(_PAPER,),
    oracle=_RADIUS,
    arguments=(
        Argument("heights", ("N",), "float", "of the boxes, in cells"),
        Argument("widths", ("N",), "float", "of the boxes, in cells"),
    ),
    options=(Option("minimum_iou", 0.3, "t, in (0, 1)"),),
    outputs=(Output("radius", ("N",), "float", "not rounded"),),
    practical_error=_cancellation,
    requirements=(
        Requirement("RAD-1", Level.MUST, Kind.VALUE, "The smallest of the three radii.", _PAPER, value, boxes,
                    scenes=(of_a_photograph,), dtypes=FULL,
                    no_mutant="a wrong radius is wrong for long boxes too, RAD-4"),
        Requirement("RAD-2", Level.MUST, Kind.EMPTY, "A box without a side has radius 0.", "ruling degenerate", value,
                    without_a_side, dtypes=FULL, examples=0.3),
        Requirement("RAD-3", Level.MUST, Kind.EMPTY, "Without boxes there is no radius.", "house rule", value, no_box,
                    dtypes=FULL, examples=0.1),
        Requirement("RAD-4", Level.MUST, Kind.EXTREME, "Long boxes have a radius too.", _PAPER, value, long_boxes,
                    dtypes=FULL, examples=0.3),
        Requirement("RAD-5", Level.SHOULD, Kind.EXTREME, "Half-precision sides are computed in float32.", "house rule",
                    value, half_boxes, dtypes=HALF, examples=0.3),
        Requirement("RAD-6", Level.MUST, Kind.CONSERVATION, "At the radius the worst IoU is the minimum.",
                    _PAPER, worst_iou_is_the_minimum, boxes, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("RAD")),
        Requirement("RAD-7", Level.MUST, Kind.INVARIANCE, "Height and width are alike.", _PAPER,
                    same_as(_exchanged, "radius of the turned boxes"), boxes, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("RAD")),
        Requirement("RAD-8", Level.MUST, Kind.INVARIANCE, "Twice the box has twice the radius.", _PAPER,
                    same_as(_doubled, "radius of twice the box", lambda output, _: output / 2.0), boxes, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED.format("RAD")),
        Requirement("RAD-9", Level.MUST, Kind.PURITY, "The sides are not written to, and equal calls agree.",
                    "house rule", purity, boxes, dtypes=FULL, examples=0.3),
        Requirement("RAD-10", Level.SHOULD, Kind.ERROR, "Widths of another number than the heights are refused.",
                    "house rule", refuses(bad_shape("heights")), boxes, dtypes=FULL, examples=0.1),
        Requirement("RAD-11", Level.MAY, Kind.ERROR, "A minimum IoU outside (0, 1) is refused.", "house rule",
                    refuses(bad_option("minimum_iou", 1.5)), boxes, dtypes=FULL, examples=0.1),
    ),
    mutants=_RADIUS_MUTANTS,
    rulings=(
        Ruling("quadratic", "The roots are those of the quadratic formula: CenterNet's copies drop its factor 2a."),
        Ruling("degenerate", "A box without height or width has radius 0."),
    ),
    not_applicable={
        Kind.GRADIENT: "a target has no gradient", Kind.DETACHED: "a target has no gradient",
        Kind.REDUCES_TO: "no simpler technique", Kind.LIMIT: "no limit", Kind.TIES: "no threshold",
        Kind.BOUND: "RAD-6 says what it is", Kind.BATCH: "every box by itself", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip

# --- bumps ----------------------------------------------------------------------------------------------------

_MAP: dict[str, OptionValue] = {"num_classes": 2, "height": 5, "width": 7}
_ANY = ("float32",)


def corners(draw: Draw) -> Case:
    """Up to four corners of two classes and padding, on a map of 5 x 7 cells; bumps meet, and cross the border."""
    number = draw.integer(1, 4)
    points = np.stack([draw.integers((number,), 0, 6), draw.integers((number,), 0, 4)], axis=1)
    labels = draw.array((number,), lambda: float(draw.choice((0, 0, 1, -1)))).astype(np.int64)
    arguments = {"points": points, "labels": labels, "radii": draw.integers((number,), 0, 4)}
    return Case(arguments, _MAP, draw.dtype(_ANY))


def radius_zero(draw: Draw) -> Case:
    """Corners of small boxes: a single cell each."""
    case = corners(draw)
    return case.with_arguments(radii=np.zeros_like(case.arguments["radii"]))


def no_corner(draw: Draw) -> Case:
    """No row, or padding only."""
    number = draw.choice((0, 2))
    arguments = {"points": np.zeros((number, 2), dtype=np.int64), "labels": np.full(number, -1),
                 "radii": np.full(number, 2)}  # fmt: skip
    return Case(arguments, _MAP, draw.dtype(_ANY))


def corners_of_a_photograph(seed: int) -> Case:
    """The top left corners of a photograph's boxes on its map, with their radii."""
    found = annotated_photograph(seed)
    cells = found.boxes / 8.0
    radii = np.floor(_RADIUS(cells[:, 3] - cells[:, 1], cells[:, 2] - cells[:, 0])).astype(np.int64)
    points = np.maximum(cells[:, :2], 0.0).astype(np.int64)
    options: dict[str, OptionValue] = {"num_classes": 80, "height": found.height // 8 + 1,
                                       "width": found.width // 8 + 1}  # fmt: skip
    arguments = {"points": points, "labels": found.labels, "radii": radii}
    return Case(arguments, options, "float32", origin=f"photograph {seed}")


def _one_at_corners(bench: Bench, case: Case) -> None:
    """1 at each corner, at most 1 elsewhere, and 0 beyond every radius."""
    heat = bench.evaluate(case).outputs[0].astype(np.float64)
    points, labels = case.arguments["points"], case.arguments["labels"]
    real = labels >= 0
    at_corners = heat[labels[real], points[real, 1], points[real, 0]]
    bench.expect(bool((at_corners == 1.0).all()), f"{at_corners.tolist()} at the corners, expected 1", case)
    bench.expect(bool(((heat >= 0.0) & (heat <= 1.0)).all()), "heat outside [0, 1]", case)


def _reversed(case: Case) -> Case:
    return case.with_arguments(**{name: values[::-1].copy() for name, values in case.arguments.items()})


def _exponents(case: Case, u: float) -> Array:
    """Exponents of up to 9, each off by the roundoffs of the width and of a quotient."""
    return np.asarray(_FEW * 9.0 * u * _BUMPS(**case.arguments, **case.options))  # type: ignore[arg-type]


_BUMPS = oracle.corner_heat_map


def _wrong_bumps(
    *,
    sigma: Callable[[int], float] = lambda r: (2 * r + 1) / 6,
    inside: Callable[[Array, Array, int], Array] = lambda dx, dy, r: (abs(dx) <= r) & (abs(dy) <= r),
    merge: Callable[[Array, Array], Array] = np.maximum,
    at: Callable[[int, int], tuple[int, int]] = lambda x, y: (x, y),
    padded: bool = False,
    one_class: bool = False,
) -> Function:
    """Bumps with one thing wrong."""

    def function(*, points: Array, labels: Array, radii: Array, num_classes: int, height: int, width: int) -> Array:
        _BUMPS(points, labels, radii, num_classes=num_classes, height=height, width=width)
        heat = np.zeros((num_classes, height, width))
        for point, label, r in zip(np.reshape(points, (-1, 2)).tolist(), labels.tolist(), radii.tolist(), strict=True):
            if label == -1 and not padded:
                continue
            x, y = at(*point)
            c = 0 if one_class else max(label, 0)
            dx, dy = np.arange(width) - x, np.arange(height)[:, None] - y
            with np.errstate(divide="ignore", invalid="ignore"):
                bump = np.exp(-(dx**2 + dy**2) / (2 * np.float64(sigma(r)) ** 2))
            heat[c] = merge(heat[c], np.where(inside(dx, dy, r), bump, 0.0))
        return heat

    return function


def _truncated(*, points: Array, labels: Array, radii: Array, **keywords: Any) -> Array:  # noqa: ANN401
    number = min(len(labels), len(radii))
    return _BUMPS(points[:number], labels[:number], radii[:number], **keywords)


_BUMP_MUTANTS = (
    Mutant("corner-bumps/sigma-third", "a third of the radius for sigma", _wrong_bumps(sigma=lambda r: r / 3),
           seen_in="the paper's text"),
    Mutant("corner-bumps/sigma-diameter", "a sixth of 2r for sigma, at least 1/6", _wrong_bumps(
        sigma=lambda r: max(2 * r, 1) / 6)),
    Mutant("corner-bumps/round", "bumps cut at a circle", _wrong_bumps(
        inside=lambda dx, dy, r: dx**2 + dy**2 <= r**2)),
    Mutant("corner-bumps/uncut", "bumps not cut", _wrong_bumps(inside=lambda dx, dy, _: abs(dx + dy) >= 0)),
    Mutant("corner-bumps/radius-missed", "bumps cut before their radius", _wrong_bumps(
        inside=lambda dx, dy, r: (abs(dx) < max(r, 1)) & (abs(dy) < max(r, 1)))),
    Mutant("corner-bumps/added", "bumps added up", _wrong_bumps(merge=lambda a, b: a + b)),
    Mutant("corner-bumps/last-wins", "the later bump over the earlier one", _wrong_bumps(
        merge=lambda a, b: np.where(b > 0, b, a))),
    Mutant("corner-bumps/rows-first", "y before x", _wrong_bumps(at=lambda x, y: (min(y, 6), min(x, 4)))),
    Mutant("corner-bumps/one-class", "all classes on the first map", _wrong_bumps(one_class=True)),
    Mutant("corner-bumps/padding-drawn", "rows of padding drawn as class 0", _wrong_bumps(padded=True)),
    Mutant("corner-bumps/zero-radius", "no bump of radius 0", lambda *, radii, labels, **k: _BUMPS(
        radii=radii, labels=np.where(radii == 0, -1, labels), **k)),
    Mutant("corner-bumps/in-place", "its radii overwritten", mistakes.overwriting(_BUMPS, "radii")),
    Mutant("corner-bumps/raises-on-empty", "an error without corners", mistakes.failing_on_empty(_BUMPS, "labels")),
    Mutant("corner-bumps/cut", "further radii left out", _truncated),
)  # fmt: skip

CORNER_HEAT_MAP = Technique(
    id="corner_heat_map",
    title="Target of a corner heat map",
    family="detection",
    summary="A Gaussian bump around every corner: nearly right corners count less as background.",
    sources=(_PAPER,),
    oracle=_BUMPS,
    arguments=(
        Argument("points", ("M", "2"), "int", "x and y of the corners, in cells"),
        Argument("labels", ("M",), "int", "0..C-1, -1 for padding"),
        Argument("radii", ("M",), "int", "of the bumps, >= 0"),
    ),
    options=(Option("num_classes", 80, "C"), Option("height", 128, "H"), Option("width", 128, "W")),
    outputs=(Output("heat", ("C", "H", "W"), "float", "in [0, 1]"),),
    practical_error=_exponents,
    requirements=(
        Requirement("BUMP-1", Level.MUST, Kind.VALUE, "exp(-d^2 / 2 sigma^2) within the radius; the largest counts.",
                    _PAPER, value, corners, scenes=(corners_of_a_photograph,), dtypes=_ANY),
        Requirement("BUMP-2", Level.MUST, Kind.LIMIT, "A radius of 0 marks the corner alone.", "ruling sigma", value,
                    radius_zero, dtypes=_ANY, examples=0.3, no_mutant=_IMPLIED.format("BUMP")),
        Requirement("BUMP-3", Level.MUST, Kind.EMPTY, "Without corners the map is 0.", "house rule", value, no_corner,
                    dtypes=_ANY, examples=0.1),
        Requirement("BUMP-4", Level.MUST, Kind.BOUND, "1 at every corner, and between 0 and 1 everywhere.", _PAPER,
                    _one_at_corners, corners, dtypes=_ANY, examples=0.3, no_mutant=_IMPLIED.format("BUMP")),
        Requirement("BUMP-5", Level.MUST, Kind.INVARIANCE, "The order of the corners means nothing.", _PAPER,
                    same_as(_reversed, "heat of the corners in reverse"), corners, dtypes=_ANY, examples=0.3,
                    no_mutant=_IMPLIED.format("BUMP")),
        Requirement("BUMP-6", Level.MUST, Kind.INVARIANCE, "Padding (label -1) changes nothing.", "house rule",
                    padding(0, points=1, labels=-1, radii=2), corners, dtypes=_ANY, examples=0.3,
                    no_mutant=_IMPLIED.format("BUMP")),
        Requirement("BUMP-7", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, corners, dtypes=_ANY, examples=0.3),
        Requirement("BUMP-8", Level.SHOULD, Kind.ERROR, "Radii of another number than the corners are refused.",
                    "house rule", refuses(bad_shape("radii")), corners, dtypes=_ANY, examples=0.1),
    ),
    mutants=_BUMP_MUTANTS,
    rulings=(
        Ruling("sigma", "sigma is (2r + 1) / 6, as in the authors' code, so that a radius of 0 has a bump too."),
        Ruling("square", "A bump is cut at |dx| = r and |dy| = r."),
    ),
    not_applicable={
        Kind.GRADIENT: "a target has no gradient", Kind.DETACHED: "a target has no gradient",
        Kind.REDUCES_TO: "no simpler technique", Kind.TIES: "the cut at the radius is in BUMP-1",
        Kind.CONSERVATION: "conserves nothing", Kind.EXTREME: "whole numbers, of a few hundred",
        Kind.BATCH: "one image", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
