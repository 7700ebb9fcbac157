"""Known mistakes in IoU-balanced sampling: the specification told again, one step of it wrong in each."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.hard_sampling.draw_laws import systematic_keys
from steelyard.reference.hard_sampling import iou_balanced_sampling as oracle
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys

Function = Callable[..., Any]


def _negative(labels: Array, num_classes: int) -> Array:
    return np.asarray(labels == num_classes)


def _above(iou: Array, floor: float | None) -> Array:
    if floor is None:
        return np.ones(iou.shape, bool)
    return np.asarray(iou > 0.0 if floor == 0.0 else iou >= floor)


def _top(iou: Array, negative: Array, upper: str | float) -> float:
    if not isinstance(upper, str):
        return upper
    return float(np.max(iou, where=negative if upper == "negatives" else np.full(iou.shape, True), initial=0.0))


def _bins(iou: Array, a: float, b: float, num_bins: int) -> Array:
    return np.sum([iou >= a + (b - a) * k / num_bins for k in range(1, num_bins)], axis=0, dtype=int) + 0 * iou


def _fill(rest: Array, keys: Array, fill_keys: Array, number: int) -> Array:
    return smallest_keys(fill_keys, rest, max(number, 0))


@dataclass(frozen=True)
class Steps:
    """The steps of the specification; a mutant replaces one."""

    negative: Callable[[Array, int], Array] = _negative
    above: Callable[[Array, float | None], Array] = _above
    top: Callable[[Array, Array, Any], float] = _top
    bins: Callable[[Array, float, float, int], Array] = _bins
    share: Callable[[int, float], int] = lambda n, fraction: int(n * (1.0 - fraction))
    quota: Callable[[int, int], int] = lambda n, num_bins: n // num_bins
    order: Callable[[Array, Array], Array] = lambda keys, iou: keys  # noqa: ARG005
    fill: Callable[[Array, Array, Array, int], Array] = _fill
    lower: Callable[[float | None], float] = lambda floor: floor or 0.0
    fills_bins: bool = True
    fills_floor: bool = True
    floor_by: Callable[[int, float | None], float | None] = lambda image, floor: floor  # noqa: ARG005


def sampler(**wrong: Any) -> Function:  # noqa: ANN401
    """A sampler of batches with some steps replaced, and the specification's checks."""
    steps = replace(Steps(), **wrong)

    def function(
        labels: Array,
        max_iou: Array,
        num_negatives: Array,
        keys: Array,
        fill_keys: Array,
        **options: Any,  # noqa: ANN401
    ) -> Array:
        oracle.iou_balanced_negatives(labels, max_iou, num_negatives, keys, fill_keys, **options)
        arrays = [np.asarray(array, dtype=np.float64) for array in (max_iou, num_negatives, keys, fill_keys)]
        chosen = np.zeros(np.shape(labels), bool)
        for number, image in enumerate(np.ndindex(np.shape(labels)[:-1])):
            floor = steps.floor_by(number, options["floor_iou"])
            iou, number_here, *both_keys = (array[image] for array in arrays)
            chosen[image] = _one(
                steps, np.asarray(labels)[image], iou, int(number_here), *both_keys, **{**options, "floor_iou": floor}
            )
        return chosen

    return function


def _one(  # noqa: PLR0913
    steps: Steps, labels: Array, iou: Array, n: int, keys: Array, fill_keys: Array, *, num_classes: int,
    num_bins: int, floor_iou: float | None, floor_fraction: float, upper: str | float,
) -> Array:  # fmt: skip
    negative = steps.negative(labels, num_classes)
    pool = negative & steps.above(iou, floor_iou)
    below = negative & ~pool
    bins = steps.bins(iou, steps.lower(floor_iou), steps.top(iou, negative, upper), num_bins)
    wanted = steps.share(n, floor_fraction)
    total = wanted if not steps.fills_floor else max(wanted, n - int(below.sum()))
    chosen = np.zeros(labels.shape, bool)
    for k in range(num_bins):
        chosen |= smallest_keys(steps.order(keys, iou), pool & (bins == k), steps.quota(wanted, num_bins))
    if steps.fills_bins:
        chosen |= steps.fill(pool & ~chosen, keys, fill_keys, total - int(chosen.sum()))
    left = n - min(int(pool.sum()), total)
    return np.asarray(chosen | smallest_keys(keys, below, max(left, 0)))


def _without_the_top(iou: Array, a: float, b: float, num_bins: int) -> Array:
    return np.where(iou < b, _bins(iou, a, b, num_bins), -1)


def _edges_below(iou: Array, a: float, b: float, num_bins: int) -> Array:
    return np.sum([iou > a + (b - a) * k / num_bins for k in range(1, num_bins)], axis=0, dtype=int) + 0 * iou


def _equal_counts(iou: Array, a: float, b: float, num_bins: int) -> Array:
    rank = np.argsort(np.argsort(iou, kind="stable"), kind="stable")
    return np.asarray(rank * num_bins // max(iou.size, 1))


def _first_only(iou: Array, a: float, b: float, num_bins: int) -> Array:
    bins = _bins(iou, a, b, num_bins)
    return np.where(np.arange(iou.size) < 16_384, bins, -1)


def _repeating(rest: Array, keys: Array, fill_keys: Array, number: int) -> Array:
    """Some of what is drawn has been drawn already: as if the number were drawn from twice as many."""
    return smallest_keys(fill_keys, rest, max(number, 0) // 2)


def _whole_batch(labels: Array, max_iou: Array, num_negatives: Array, keys: Array, fill_keys: Array, **o: Any) -> Array:  # noqa: ANN401
    number = int(np.sum(num_negatives))
    chosen = oracle.iou_balanced_negatives(
        np.ravel(labels), np.ravel(max_iou), number, np.ravel(keys), np.ravel(fill_keys), **o
    )
    return chosen.reshape(np.shape(labels))


def own_keys(change: Callable[[Array, Array, Array], tuple[Array, Array]] | None = None, **wrong: Any) -> Function:  # noqa: ANN401
    """A sampler that draws its own keys; only its distribution can be judged."""
    function = sampler(**wrong)
    random = np.random.default_rng(20_190_404)

    def draw(labels: Array, max_iou: Array, num_negatives: Array, **options: Any) -> Any:  # noqa: ANN401
        keys, fill_keys = random.random((2, *np.shape(labels)))
        if change is not None:
            keys, fill_keys = change(keys, fill_keys, np.asarray(max_iou))
        return function(labels, max_iou, num_negatives, keys, fill_keys, **options)

    return draw


def _systematic(keys: Array, fill_keys: Array, iou: Array) -> tuple[Array, Array]:
    return systematic_keys(keys, iou), fill_keys


_RIGHT = oracle.iou_balanced_negatives
MUTANTS = (
    Mutant("iou-balanced/bins-from-minus-one", "the bins beginning at -1 where there is no floor",
           sampler(lower=lambda floor: -1.0 if floor is None else floor),
           seen_in="the first release of Libra R-CNN and mmdet (mmdet #1752)"),
    Mutant("iou-balanced/floor-moved", "a floor that is off moved to 0 by the first image",
           sampler(floor_by=lambda image, floor: 0.0 if image and floor is None else floor),
           seen_in="mmdet 3.3.0, from the second call on"),
    Mutant("iou-balanced/largest-left-out", "the largest IoU in no bin", sampler(bins=_without_the_top),
           seen_in="mmdet 3.3.0"),
    Mutant("iou-balanced/bins-of-negatives", "the bins always ending at the largest IoU of the negatives",
           sampler(top=lambda iou, negative, _: _top(iou, negative, "negatives"))),
    Mutant("iou-balanced/edges-below", "an IoU on an edge in the bin below", sampler(bins=_edges_below)),
    Mutant("iou-balanced/equal-counts", "bins of equal numbers of candidates instead of equal width",
           sampler(bins=_equal_counts)),
    Mutant("iou-balanced/no-fill", "no more than the quota of any bin", sampler(fills_bins=False)),
    Mutant("iou-balanced/stale-keys", "the rest filled by the keys of the bins", sampler(
        fill=lambda rest, keys, fill_keys, number: smallest_keys(keys, rest, max(number, 0)))),  # noqa: ARG005
    Mutant("iou-balanced/repeats", "the rest filled with some that are drawn already", sampler(fill=_repeating)),
    Mutant("iou-balanced/rounded-up-quota", "the quota of a bin rounded up",
           sampler(quota=lambda n, num_bins: math.ceil(n / num_bins))),
    Mutant("iou-balanced/hardest-of-a-bin", "the largest IoUs of a bin instead of random ones",
           sampler(order=lambda keys, iou: 1.0 - iou)),  # noqa: ARG005
    Mutant("iou-balanced/largest-keys", "the largest keys of a bin", sampler(order=lambda keys, iou: -keys)),  # noqa: ARG005
    Mutant("iou-balanced/floor-among-the-bins", "zeros not left out of the bins by a floor of 0",
           sampler(above=lambda iou, floor: _above(iou, floor or None))),
    Mutant("iou-balanced/floor-open", "an IoU at the floor counted as below it",
           sampler(above=lambda iou, floor: _above(iou, floor) if not floor else iou > floor)),
    Mutant("iou-balanced/floor-short", "too few below the floor left unreplaced", sampler(fills_floor=False)),
    Mutant("iou-balanced/rounded-share", "the share of the bins rounded instead of cut",
           sampler(share=lambda n, fraction: round(n * (1.0 - fraction)))),
    Mutant("iou-balanced/ignored-drawn", "ignored candidates drawn",
           sampler(negative=lambda labels, num_classes: (labels == num_classes) | (labels == -1))),
    Mutant("iou-balanced/positives-drawn", "the bins taken of positives too",
           sampler(negative=lambda labels, _: labels >= 0)),
    Mutant("iou-balanced/first-candidates-only", "candidates beyond the 16,384th in no bin",
           sampler(bins=_first_only)),
    Mutant("iou-balanced/last-of-equal-keys", "of equal keys the last candidate's", lambda labels, max_iou,
           num_negatives, keys, fill_keys, **o: _RIGHT(labels[..., ::-1], max_iou[..., ::-1], num_negatives,
                                                       keys[..., ::-1], fill_keys[..., ::-1], **o)[..., ::-1]),
    Mutant("iou-balanced/whole-batch", "the images' numbers of negatives drawn from the batch", _whole_batch),
    Mutant("iou-balanced/own-stale-keys", "the rest filled by the keys of the bins", own_keys(
        fill=lambda rest, keys, fill_keys, number: smallest_keys(keys, rest, max(number, 0))), draws_own_keys=True),  # noqa: ARG005
    Mutant("iou-balanced/systematic", "neighbours drawn together", own_keys(_systematic), draws_own_keys=True),
    Mutant("iou-balanced/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "labels")),
    Mutant("iou-balanced/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT, num_bins=lambda v: max(v, 1), floor_fraction=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("iou-balanced/broadcast", "labels repeated for keys of another number of images",
           mistakes.broadcasting(_RIGHT, "labels", "keys")),
    Mutant("iou-balanced/raises-on-empty", "an error where there is no candidate",
           mistakes.failing_on_empty(_RIGHT, "max_iou")),
    Mutant("iou-balanced/one-axis-of-images", "images along two axes taken for those of the first",
           mistakes.images_along_one_axis(_RIGHT, "labels")),
)  # fmt: skip
