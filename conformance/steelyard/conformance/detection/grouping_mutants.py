"""Wrong groupings of corners and of extreme points."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import product
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant, as_outputs
from steelyard.reference.detection import grouping as oracle

Function = Callable[..., Any]
_CORNERS, _EXTREMES = oracle.group_corners, oracle.group_extremes


def _best(found: Sequence[tuple[float, tuple[int, ...], Any, int]], kinds: int, top_k: int) -> tuple[Array, ...]:
    """The best groups (score, members, box, class), with padding."""
    best = sorted(found, key=lambda group: -group[0])[:top_k]
    boxes, scores = np.zeros((top_k, 4)), np.zeros(top_k)
    classes, members = np.full(top_k, -1), np.full((top_k, kinds), -1)
    for row, (score, own, box, label) in enumerate(best):
        boxes[row], scores[row], classes[row], members[row] = box, score, label, own
    return boxes, scores, classes, members


def _pairs(
    *,
    near: Callable[[float, float], bool] = lambda apart, most: abs(apart) <= most,
    in_order: Callable[[Array, Array], bool] = lambda start, end: bool((start <= end).all()),
    alike: Callable[[int, int], bool] = lambda one, other: one == other != -1,
    score: Callable[[float, float], float] = lambda one, other: (one + other) / 2,
    swapped: bool = False,
) -> Function:
    """Corner grouping with one thing wrong."""

    def function(*, scores: Array, classes: Array, points: Array, tags: Array, maximum_tag_distance: float,
                 top_k: int) -> tuple[Array, ...]:  # fmt: skip
        _CORNERS(scores, classes, points, tags, maximum_tag_distance=maximum_tag_distance, top_k=top_k)
        s, p, e = (np.asarray(values, dtype=np.float64) for values in (scores, points, tags))
        number = range(s.shape[1])
        pairs = ((j, i) for i, j in product(number, number)) if swapped else product(number, number)
        found = [
            (score(s[0, i], s[1, j]), (i, j), (*p[0, i], *p[1, j]), int(classes[0, i]))
            for i, j in pairs
            if alike(classes[0, i], classes[1, j]) and near(e[0, i] - e[1, j], maximum_tag_distance)
            and in_order(p[0, i], p[1, j])
        ]  # fmt: skip
        return _best(found, 2, top_k)

    return function


def _tags_cut(*, tags: Array, scores: Array, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    return as_outputs(_CORNERS(tags=tags[: len(scores)], scores=scores, **keywords))


def _members_exchanged(**keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    boxes, scores, classes, members = _CORNERS(**keywords)
    return boxes, scores, classes, members[:, ::-1].copy()


def _top_of_each(function: Function, number: int) -> Function:
    """Right for few peaks: of many only the first ones are tried."""

    def mutant(*, classes: Array, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
        late = np.arange(classes.shape[1]) >= number
        return as_outputs(function(classes=np.where(late, -1, classes), **keywords))

    return mutant


CORNER_MUTANTS = (
    Mutant("corner-groups/strict-distance", "tags of exactly the largest distance refused", _pairs(
        near=lambda apart, most: abs(apart) < most)),
    Mutant("corner-groups/signed-distance", "tags compared without regard to sign", _pairs(
        near=lambda apart, most: apart <= most)),
    Mutant("corner-groups/any-tag", "tags not compared", _pairs(near=lambda *_: True)),
    Mutant("corner-groups/any-class", "classes not compared", _pairs(alike=lambda one, other: min(one, other) >= 0)),
    Mutant("corner-groups/padding-paired", "padding paired with padding", _pairs(
        alike=lambda one, other: one == other)),
    Mutant("corner-groups/strict-sides", "boxes without width or height refused", _pairs(
        in_order=lambda start, end: bool((start < end).all()))),
    Mutant("corner-groups/any-order", "the second corner above or left of the first", _pairs(
        in_order=lambda *_: True)),
    Mutant("corner-groups/one-side", "one positive side enough", _pairs(
        in_order=lambda start, end: bool((start <= end).any()))),
    Mutant("corner-groups/product", "the product of the scores", _pairs(score=lambda one, other: one * other)),
    Mutant("corner-groups/sum", "the sum of the scores", _pairs(score=lambda one, other: one + other)),
    Mutant("corner-groups/bottom-right-first", "equal scores with the bottom right corner first", _pairs(swapped=True)),
    Mutant("corner-groups/members-exchanged", "members in the other order", _members_exchanged),
    Mutant("corner-groups/few-peaks", "peaks beyond the fiftieth not tried", _top_of_each(_CORNERS, 50)),
    Mutant("corner-groups/in-place", "its scores overwritten", mistakes.overwriting(_CORNERS, "scores")),
    Mutant("corner-groups/raises-on-empty", "an error without corners", mistakes.failing_on_empty(_CORNERS, "scores")),
    Mutant("corner-groups/tags-cut", "further tags left out", _tags_cut),
    Mutant("corner-groups/unchecked", "no check of the distance", mistakes.unchecked(
        _CORNERS, maximum_tag_distance=mistakes.at_least_0)),
)  # fmt: skip


def _quadruples(  # noqa: PLR0913 - a fault each, by keyword
    *,
    above: Callable[[Any, Any], bool] = lambda one, other: one <= other,
    checked: tuple[str, ...] = ("top", "left", "bottom", "right"),
    strong: Callable[[float, float], bool] = lambda score, lowest: score >= lowest,
    centred: Callable[[float, float], bool] = lambda heat, lowest: heat >= lowest,
    half: Callable[[int, int], int] = lambda one, other: (one + other) // 2,
    weight: Callable[[float], float] = lambda w: w,
    divisor: Callable[[float], float] = lambda w: 4 + w,
    alike: Callable[[Array], bool] = lambda c: bool((c == c[0]).all()),
    first_map: bool = False,
    turned: bool = False,
    rightmost_first: bool = False,
) -> Function:
    """Extreme grouping with one thing wrong."""

    def function(
        *, scores: Array, classes: Array, points: Array, center_heat: Array, top_k: int, **options: float
    ) -> tuple[Array, ...]:
        _EXTREMES(scores, classes, points, center_heat, top_k=top_k, **options)
        peak_threshold, center_threshold = options["peak_threshold"], options["center_threshold"]
        center_weight = options["center_weight"]
        s, heat = np.asarray(scores, dtype=np.float64), np.asarray(center_heat, dtype=np.float64)
        kinds = np.arange(4)
        found = []
        quadruples = product(range(s.shape[1]), repeat=4)
        for own in (q[::-1] for q in quadruples) if rightmost_first else quadruples:
            c, own_scores = classes[kinds, own], s[kinds, own]
            if c.min() < 0 or not alike(c) or not all(strong(x, peak_threshold) for x in own_scores.tolist()):
                continue
            x, y = points[kinds, own].T.tolist()
            ordered = {
                "top": all(above(y[0], v) for v in y[1:]), "left": all(above(x[1], x[k]) for k in (0, 2, 3)),
                "bottom": all(above(y[k], y[2]) for k in (0, 1, 3)), "right": all(above(v, x[3]) for v in x[:3]),
            }  # fmt: skip
            if not all(ordered[name] for name in checked):
                continue
            row, column = half(y[0], y[2]), half(x[1], x[3])
            row, column = (column, row) if turned else (row, column)
            center = float(heat[0 if first_map else c[0], row, column])
            if centred(center, center_threshold):
                total = (own_scores.sum() + weight(center_weight) * center) / divisor(center_weight)
                found.append((float(total), own, (x[1], y[0], x[3], y[2]), int(c[0])))
        return _best(found, 4, top_k)

    return function


def _points_cut(*, points: Array, scores: Array, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    return as_outputs(_EXTREMES(points=points[: len(scores)], scores=scores, **keywords))


EXTREME_MUTANTS = (
    Mutant("extreme-groups/strict-order", "points that share a coordinate refused", _quadruples(
        above=lambda one, other: one < other)),
    Mutant("extreme-groups/top-not-checked", "a top that is not the highest", _quadruples(
        checked=("left", "bottom", "right"))),
    Mutant("extreme-groups/left-not-checked", "a left that is not leftmost", _quadruples(
        checked=("top", "bottom", "right"))),
    Mutant("extreme-groups/bottom-not-checked", "a bottom that is not the lowest", _quadruples(
        checked=("top", "left", "right"))),
    Mutant("extreme-groups/right-not-checked", "a right that is not rightmost", _quadruples(
        checked=("top", "left", "bottom"))),
    Mutant("extreme-groups/above-peak", "a score equal to the threshold refused", _quadruples(
        strong=lambda score, lowest: score > lowest)),
    Mutant("extreme-groups/above-centre", "heat equal to the threshold refused", _quadruples(
        centred=lambda heat, lowest: heat > lowest)),
    Mutant("extreme-groups/no-centre", "the centre not looked at", _quadruples(centred=lambda *_: True)),
    Mutant("extreme-groups/rounded-up", "the centre rounded up", _quadruples(
        half=lambda one, other: (one + other + 1) // 2)),
    Mutant("extreme-groups/turned", "x and y of the centre exchanged", _quadruples(turned=True)),
    Mutant("extreme-groups/first-map", "the centre of class 0 for all classes", _quadruples(first_map=True)),
    Mutant("extreme-groups/any-class", "classes not compared", _quadruples(alike=lambda _: True)),
    Mutant("extreme-groups/two-classes", "the classes of two points compared", _quadruples(
        alike=lambda c: bool(c[0] == c[2]))),
    Mutant("extreme-groups/centre-once", "a centre of weight 1", _quadruples(
        weight=lambda _: 1.0, divisor=lambda _: 5.0), seen_in="the paper's text"),
    Mutant("extreme-groups/sum", "the sum of the scores", _quadruples(divisor=lambda _: 1.0)),
    Mutant("extreme-groups/right-first", "equal scores with the right point first", _quadruples(rightmost_first=True)),
    Mutant("extreme-groups/few-peaks", "peaks beyond the fifth not tried", _top_of_each(_EXTREMES, 5)),
    Mutant("extreme-groups/in-place", "its heat overwritten", mistakes.overwriting(_EXTREMES, "center_heat")),
    Mutant("extreme-groups/raises-on-empty", "an error without points",
           mistakes.failing_on_empty(_EXTREMES, "scores")),
    Mutant("extreme-groups/points-cut", "further points left out", _points_cut),
    Mutant("extreme-groups/unchecked", "no check of the weight", mistakes.unchecked(
        _EXTREMES, center_weight=mistakes.at_least_0)),
)  # fmt: skip
