"""Known mistakes with the IoU lower bound: in the labels, and in what is drawn by them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.hard_sampling.draw_laws import systematic_keys
from steelyard.reference.hard_sampling import iou_lower_bound as oracle
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys

Function = Callable[..., Any]
Labels = Callable[..., Array]
Masks = tuple[Array, Array]

_RANGE = ("num_classes", "foreground_iou", "background_low", "background_high")


def labels_with(change: Callable[[Array, Array, Array, dict[str, Any]], Array]) -> Labels:
    """The specification's labels, changed by what the IoUs and classes are; after the specification's checks."""

    def function(max_iou: Array, classes: Array, **options: Any) -> Array:  # noqa: ANN401
        labels = oracle.iou_range_labels(max_iou, classes, **options)
        iou = np.asarray(max_iou, dtype=np.float64)
        return np.where(np.asarray(classes) == -1, -1, change(labels, iou, np.asarray(classes), options))

    return function


def _background(labels: Array, where: Array, options: dict[str, Any]) -> Array:
    return np.where(where, options["num_classes"], labels)


def _no_object_anywhere(iou: Array) -> Array:
    return np.broadcast_to((iou <= 0.0).all(axis=-1, keepdims=True), iou.shape)


WRONG_LABELS: dict[str, tuple[str, Labels, str]] = {
    "lower-end-open": (
        "an IoU at the lower end ignored",
        labels_with(lambda y, iou, _, o: np.where((y == o["num_classes"]) & (iou == o["background_low"]), -1, y)),
        "",
    ),
    "upper-end-closed": (
        "an IoU at the upper end taken for background",
        labels_with(lambda y, iou, _, o: _background(y, (y == -1) & (iou == o["background_high"]), o)),
        "",
    ),
    "foreground-open": (
        "an IoU at the threshold of the foreground ignored",
        labels_with(lambda y, iou, _, o: np.where(iou == o["foreground_iou"], -1, y)),
        "",
    ),
    "rest-is-background": (
        "what is below the range taken for background instead of ignored",
        labels_with(lambda y, iou, _, o: _background(y, iou < o["background_low"], o)),
        "",
    ),
    "gap-is-background": (
        "what is between range and foreground taken for background",
        labels_with(lambda y, iou, _, o: _background(y, (y == -1) & (iou >= o["background_high"]), o)),
        "",
    ),
    "all-background-without-objects": (
        "an image without objects all background",
        labels_with(lambda y, iou, _, o: _background(y, _no_object_anywhere(iou), o)),
        "mmdet's assigner and detectron2's RoI heads",
    ),
    "class-of-the-nearest": (
        "background with the class of the nearest object",
        labels_with(lambda y, _, classes, o: np.where(y == o["num_classes"], classes, y)),
        "",
    ),
}  # fmt: skip

_RIGHT_LABELS = oracle.iou_range_labels


def _ignored_counted(max_iou: Array, classes: Array, **options: Any) -> Array:  # noqa: ANN401
    _RIGHT_LABELS(max_iou, classes, **options)
    return _RIGHT_LABELS(max_iou, np.maximum(classes, 0), **options)


LABEL_MUTANTS = (
    *(
        Mutant(f"iou-range/{name}", summary, function, seen_in=seen)
        for name, (summary, function, seen) in WRONG_LABELS.items()
    ),
    Mutant("iou-range/ignored-counted", "what is to be ignored labelled by its IoU", _ignored_counted),
    Mutant("iou-range/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT_LABELS, "classes")),
    Mutant("iou-range/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT_LABELS, foreground_iou=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("iou-range/broadcast", "classes repeated for another number of images",
           mistakes.broadcasting(_RIGHT_LABELS, "classes", "max_iou")),
    Mutant("iou-range/raises-on-empty", "an error where there is no candidate",
           mistakes.failing_on_empty(_RIGHT_LABELS, "max_iou")),
)  # fmt: skip


def _sampler(
    labels: Labels = _RIGHT_LABELS,
    rounded: Callable[[float], int] | None = None,
    *,
    fixed_negatives: bool = False,
    always_below: bool = False,
    never_below: bool = False,
    order: Callable[[Array], Array] = lambda keys: keys,
) -> Function:
    """The specification told again, with some of it wrong, after its checks."""

    def function(max_iou: Array, classes: Array, keys: Array, **o: Any) -> Masks:  # noqa: ANN401
        oracle.iou_lower_bound_sampling(max_iou, classes, keys, **o)
        label = labels(max_iou, classes, **{name: o[name] for name in _RANGE})
        share = o["num_samples"] * o["positive_fraction"]
        round_it = rounded or (int if o["rounding"] == "down" else round)
        limit = min(o["background_low"], o["background_high"], o["foreground_iou"])
        below = (np.asarray(max_iou, dtype=np.float64) < limit) & (np.asarray(classes) != -1) & (label == -1)
        refill = (o["fill_from_below"] or always_below) and not never_below
        positive, negative = np.zeros(label.shape, bool), np.zeros(label.shape, bool)
        for b in np.ndindex(label.shape[:-1]):
            key = order(np.asarray(keys, dtype=np.float64)[b])
            foreground = (label[b] >= 0) & (label[b] < o["num_classes"])
            positive[b] = smallest_keys(key, foreground, round_it(share))
            left = o["num_samples"] - (round_it(share) if fixed_negatives else int(positive[b].sum()))
            negative[b] = smallest_keys(key, label[b] == o["num_classes"], left)
            if refill:
                negative[b] |= smallest_keys(key, below[b], left - int(negative[b].sum()))
        return positive, negative

    return function


def _whole_batch(max_iou: Array, classes: Array, keys: Array, **o: Any) -> Masks:  # noqa: ANN401
    found = oracle.iou_lower_bound_sampling(np.ravel(max_iou), np.ravel(classes), np.ravel(keys), **o)
    return found.positive.reshape(np.shape(keys)), found.negative.reshape(np.shape(keys))


def _last_of_equal_keys(max_iou: Array, classes: Array, keys: Array, **o: Any) -> Masks:  # noqa: ANN401
    found = oracle.iou_lower_bound_sampling(max_iou[..., ::-1], classes[..., ::-1], keys[..., ::-1], **o)
    return found.positive[..., ::-1], found.negative[..., ::-1]


def _first_only(max_iou: Array, classes: Array, keys: Array, **o: Any) -> Masks:  # noqa: ANN401
    kept = np.where(np.arange(np.shape(classes)[-1]) < 16_384, classes, -1)
    return oracle.iou_lower_bound_sampling(max_iou, kept, keys, **o)


def _own_keys(change: Callable[[Array, Array], Array]) -> Function:
    """A sampler that draws its own keys; only its distribution can be judged."""
    random = np.random.default_rng(15_040_808)

    def draw(max_iou: Array, classes: Array, **o: Any) -> Masks:  # noqa: ANN401
        iou = np.asarray(max_iou, dtype=np.float64)
        return oracle.iou_lower_bound_sampling(max_iou, classes, change(random.random(iou.shape), iou), **o)

    return draw


def _favouring_the_first(keys: Array, _: Array) -> Array:
    return np.where(np.arange(keys.shape[-1]) == 0, keys**1.5, keys)


def _systematic_negatives(keys: Array, iou: Array) -> Array:
    return np.where(iou < 0.5, systematic_keys(keys, iou), keys)


_RIGHT = oracle.iou_lower_bound_sampling
SAMPLING_MUTANTS = (
    *(
        Mutant(f"iou-lower-bound/{name}", summary, _sampler(function), seen_in=seen)
        for name, (summary, function, seen) in WRONG_LABELS.items()
    ),
    Mutant("iou-lower-bound/ignored-counted", "what is to be ignored drawn by its IoU", _sampler(_ignored_counted)),
    Mutant("iou-lower-bound/filled-from-below", "far background in the place of missing candidates of the range",
           _sampler(always_below=True)),
    Mutant("iou-lower-bound/never-filled", "no far background even where it is asked for", _sampler(never_below=True)),
    Mutant("iou-lower-bound/fixed-negatives", "no negatives in the place of missing positives",
           _sampler(fixed_negatives=True)),
    Mutant("iou-lower-bound/half-even", "the quota of the positives always rounded half to even",
           _sampler(rounded=round), seen_in="Fast R-CNN's own code (a dialect there)"),
    Mutant("iou-lower-bound/cut", "the quota of the positives always cut", _sampler(rounded=int)),
    Mutant("iou-lower-bound/largest-keys", "the largest keys instead of the smallest",
           _sampler(order=lambda keys: -keys)),
    Mutant("iou-lower-bound/last-of-equal-keys", "of equal keys the last candidate's", _last_of_equal_keys),
    Mutant("iou-lower-bound/first-candidates-only", "candidates beyond the 16,384th never drawn", _first_only),
    Mutant("iou-lower-bound/whole-batch", "one sample for the whole batch", _whole_batch),
    Mutant("iou-lower-bound/favours-the-first", "a bias towards the first candidate",
           _own_keys(_favouring_the_first), draws_own_keys=True),
    Mutant("iou-lower-bound/systematic", "neighbours drawn together as negatives", _own_keys(_systematic_negatives),
           draws_own_keys=True),
    Mutant("iou-lower-bound/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "classes")),
    Mutant("iou-lower-bound/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT, num_samples=lambda v: max(v, 1), positive_fraction=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("iou-lower-bound/broadcast", "classes repeated for another number of images",
           mistakes.broadcasting(_RIGHT, "classes", "keys")),
    Mutant("iou-lower-bound/raises-on-empty", "an error where there is no candidate",
           mistakes.failing_on_empty(_RIGHT, "keys")),
    Mutant("iou-lower-bound/one-axis-of-images", "images along two axes taken for those of the first",
           mistakes.images_along_one_axis(_RIGHT, "classes")),
)  # fmt: skip
