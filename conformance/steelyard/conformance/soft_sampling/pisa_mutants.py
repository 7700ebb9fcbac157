"""Wrong implementations of IoU-HLR and ISR-P."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.reference.soft_sampling import pisa as oracle

Function = Callable[..., Any]
Ranker = Callable[[Array, Array, Array, Array, int], Array]
"""IoU, labels, objects and images of the positives, number of classes: their ranks."""


def _rows(iou: Array) -> Array:
    """The image of each sample, where images lie along the axes before the last."""
    shape = np.shape(iou)
    return np.broadcast_to(np.arange(int(np.prod(shape[:-1]))).reshape(*shape[:-1], 1), shape)


def _completed(mutants: Sequence[Mutant], **left_out: Callable[[Array], Array]) -> tuple[Mutant, ...]:
    """Mutants that get every argument, also those that a case leaves out: made of the IoUs."""

    def complete(function: Function) -> Function:
        def mutant(**keywords: Any) -> Any:  # noqa: ANN401
            return function(**{name: make(keywords["iou"]) for name, make in left_out.items()} | keywords)

        return mutant

    return tuple(replace(mutant, function=complete(mutant.function)) for mutant in mutants)


def _one_image(function: Function) -> Function:
    """Without an index all samples belong to one image."""

    def mutant(**keywords: Any) -> Any:  # noqa: ANN401
        return function(**{"image_index": np.zeros(np.shape(keywords["iou"]), dtype=np.int64)} | keywords)

    return mutant


# --- ranks ----------------------------------------------------------------------------------------------------


def _in_groups(values: Array, names: Sequence[Hashable], rank: Callable[[Array, Array], Array]) -> Array:
    """Ranks of the elements of each name by themselves; `rank` takes the values and their indices."""
    result = np.zeros(len(values), dtype=np.int64)
    for name in dict.fromkeys(names):
        members = np.array([i for i, other in enumerate(names) if other == name])
        result[members] = rank(values[members], members)
    return result


def _pairs(*keys: Array) -> list[tuple[int, ...]]:
    return list(zip(*(key.tolist() for key in keys), strict=True))


def _by(objects: Callable[[Array, Array], list[Hashable]]) -> Ranker:
    """The right ranks with other objects, made of GT and image."""

    def rank(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
        names = objects(gt, image)
        return _in_groups(iou, labels.tolist(), lambda v, at: oracle.hierarchical_local_rank(v, [names[i] for i in at]))

    return rank


_right = _by(lambda gt, image: list(_pairs(gt, image)))


def _offset_not_accumulated(gt: Array, image: Array) -> list[Hashable]:
    """Each image's indices moved by the largest of the image before, and by nothing else."""
    moved, offset = gt.copy(), 0
    for number in np.unique(image):
        here = image == number
        moved[here] += offset
        offset = int(gt[here].max()) + 1
    return list(moved.tolist())


def _each_image(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
    """The ranks run through each image by itself."""
    return _in_groups(
        iou, _pairs(labels, image), lambda v, at: oracle.hierarchical_local_rank(v, [int(gt[i]) for i in at])
    )


def _all_classes(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
    return oracle.hierarchical_local_rank(iou, _pairs(gt, image))


def _object_by_object(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
    """All boxes of one object before those of the next."""

    def rank(values: Array, at: Array) -> Array:
        order = np.lexsort((-values, gt[at], image[at]))
        return np.argsort(order)

    return _in_groups(iou, labels.tolist(), rank)


def _local_only(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
    """The rank in the object taken for the rank in the class."""
    return _in_groups(iou, _pairs(labels, image, gt), lambda v, _: np.argsort(np.argsort(-v, kind="stable")))


def _index_second(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
    """Of equal local rank the lower index first, whatever the IoU."""
    local = _local_only(iou, labels, gt, image, num_classes)
    return _in_groups(local, labels.tolist(), lambda v, _: np.argsort(np.argsort(v, kind="stable")))


def _ascending(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
    return _right(-iou, labels, gt, image, num_classes)


def _last_of_equal(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
    return _right(iou[::-1], labels[::-1], gt[::-1], image[::-1], num_classes)[::-1]


def _last_of_equal_objects(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
    """The first of the two sorts keeps the order of equal ones, the second one reverses it."""
    local = _in_groups(iou, _pairs(labels, image, gt), lambda v, _: oracle.hierarchical_local_rank(v, [0] * len(v)))

    def rank(values: Array, at: Array) -> Array:
        descending = np.where(np.isnan(iou[at]), np.inf, -iou[at])
        return np.argsort(np.lexsort((-at, descending, local[at])))

    return _in_groups(iou, labels.tolist(), rank)


def _float_key(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
    """Both criteria in one float32: IoU plus a whole number that falls with the local rank."""
    if not iou.size:
        return np.zeros(0, dtype=np.int64)
    local = _in_groups(
        iou, _pairs(labels, image, gt), lambda v, _: oracle.hierarchical_local_rank(v, [0] * len(v))
    )  # fmt: skip
    key = iou.astype(np.float32) + (np.bincount(labels).max() - local).astype(np.float32)
    key = np.where(np.isnan(iou), -np.inf, key)
    return _in_groups(-key, labels.tolist(), lambda v, _: np.argsort(np.argsort(v, kind="stable")))


def _nan_first(iou: Array, labels: Array, gt: Array, image: Array, num_classes: int) -> Array:
    return _right(np.where(np.isnan(iou), np.inf, iou), labels, gt, image, num_classes)


_RANKERS: tuple[tuple[str, str, Ranker, str], ...] = (
    ("global-sort", "the IoU rank in the class, whatever the object", _by(lambda gt, _: list(range(len(gt)))), ""),
    ("images-mixed", "objects of different images taken for one", _by(lambda gt, _: list(gt.tolist())), ""),
    ("offset-not-accumulated", "objects merged from the third image on, by an offset that does not accumulate",
     _by(_offset_not_accumulated), "mmdet 3.3.0"),
    ("each-image", "ranks in each image instead of the mini-batch", _each_image, ""),
    ("all-classes", "one ranking of all classes", _all_classes, ""),
    ("object-by-object", "the classes ordered by object first", _object_by_object, ""),
    ("local-only", "the rank in the object for the rank in the class", _local_only, ""),
    ("index-second", "boxes of equal local rank in the order of their indices", _index_second, ""),
    ("ascending", "the worst box first", _ascending, ""),
    ("last-of-equal", "of equal IoU the higher index first", _last_of_equal, ""),
    ("last-of-equal-objects", "of objects whose boxes have equal IoU the one of the higher index first",
     _last_of_equal_objects, ""),
    ("float-key", "local rank and IoU added up in float32 to sort once", _float_key, "mmdet 3.3.0"),
    ("nan-first", "NaN sorted before every number", _nan_first, "torch.sort(descending=True)"),
)  # fmt: skip


def _ranking(ranker: Ranker) -> Function:
    """IoU-HLR with another ranking of the positives."""

    def function(*, iou: Array, labels: Array, gt_index: Array, image_index: Array, num_classes: int) -> Array:
        rank = oracle.iou_hierarchical_local_rank(iou, labels, gt_index, image_index, num_classes=num_classes)
        of = (labels >= 0) & (labels < num_classes)
        values = np.asarray(iou, dtype=np.float64)[of]
        rank[of] = ranker(values, labels[of], gt_index[of], image_index[of], num_classes)
        return rank

    return function


_RANK = oracle.iou_hierarchical_local_rank


def _from_one(*, iou: Array, labels: Array, **keywords: Any) -> Array:  # noqa: ANN401
    rank = _RANK(iou, labels, **keywords)
    return np.where(rank >= 0, rank + 1, -1)


def _background_ranked(*, iou: Array, labels: Array, num_classes: int, **keywords: Any) -> Array:  # noqa: ANN401
    _RANK(iou, labels, **keywords, num_classes=num_classes)
    return _RANK(iou, labels, **keywords, num_classes=num_classes + 1)


def _zero_elsewhere(*, iou: Array, labels: Array, **keywords: Any) -> Array:  # noqa: ANN401
    return np.maximum(_RANK(iou, labels, **keywords), 0)


RANK_MUTANTS = (
    *_completed((
    *(Mutant(f"iou-hlr/{name}", summary, _ranking(ranker), seen_in=seen) for name, summary, ranker, seen in _RANKERS),
    Mutant("iou-hlr/from-one", "ranks from 1", _from_one),
    Mutant("iou-hlr/background-ranked", "the background ranked as a class", _background_ranked),
    Mutant("iou-hlr/zero-elsewhere", "rank 0 for what is not positive", _zero_elsewhere),
    Mutant("iou-hlr/in-place", "its IoUs overwritten", mistakes.overwriting(_RANK, "iou")),
    Mutant("iou-hlr/broadcast", "IoUs repeated for labels of another length",
           mistakes.broadcasting(_RANK, "iou", "labels")),
    Mutant("iou-hlr/raises-on-empty", "an error without samples", mistakes.failing_on_empty(_RANK, "iou")),
    Mutant("iou-hlr/lost-tail", "ranks beyond the last whole chunk lost", mistakes.losing_the_tail(_RANK)),
    Mutant("iou-hlr/unchecked", "no check of the number of classes", mistakes.unchecked(
        _RANK, num_classes=lambda v: v or 3)),
    ), image_index=_rows),
    Mutant("iou-hlr/one-image", "all samples taken for one image's where no index is given", _one_image(_RANK)),
)  # fmt: skip


# --- weights --------------------------------------------------------------------------------------------------


_WEIGHTS = oracle.isr_p_weights
_DENOMINATOR = {"class": "max", "max": "class"}


def _weighing(
    ranker: Ranker = _right,
    *,
    weigh: Callable[[Array, Array, float, float], Array] | None = None,
    ratio: Callable[[Array, Array, Array, Array], Array] | None = None,
    rank_weightless: bool = False,
    late: int = 0,
) -> Function:
    """ISR-P with another ranking, power, ratio, treatment of label weight 0, or start of the ranks."""

    def function(  # noqa: PLR0913
        *,
        iou: Array,
        classification_losses: Array,
        labels: Array,
        gt_index: Array,
        image_index: Array,
        label_weights: Array,
        num_classes: int,
        gamma: float,
        beta: float,
        denominator: str,
    ) -> Array:
        right = _WEIGHTS(iou, classification_losses, labels, gt_index, image_index, label_weights,
                         num_classes=num_classes, gamma=gamma, beta=beta, denominator=denominator)  # fmt: skip
        a = np.asarray(label_weights, dtype=np.float64)
        of = (labels >= 0) & (labels < num_classes) & ((a > 0) | rank_weightless)
        if not of.any():
            return right
        losses = np.asarray(classification_losses, dtype=np.float64)
        loss = (losses if losses.ndim == labels.ndim else losses.sum(axis=-1))[of]
        n_j = np.bincount(labels[of], minlength=num_classes)
        d = n_j[labels[of]] if denominator == "class" else n_j.max()
        values = np.asarray(iou, dtype=np.float64)[of]
        u = (d - ranker(values, labels[of], gt_index[of], image_index[of], num_classes) - late) / d
        w = (weigh or _weigh)(u, a[of], gamma, beta)
        shares = (ratio or _ratio)(w, a[of] * loss, loss, np.stack([labels[of], image_index[of]]))
        right[of] = w * shares
        return right

    return function


def _ratio(w: Array, own: Array, loss: Array, groups: Array) -> Array:
    size = loss.max(initial=0.0) or 1.0  # of which no sum overflows
    weighed = (w * (loss / size)).sum()
    return np.asarray((own / size).sum() / weighed if weighed > 0 else 1.0)


def _ratio_of(row: int) -> Callable[[Array, Array, Array, Array], Array]:
    def ratio(w: Array, own: Array, loss: Array, groups: Array) -> Array:
        result = np.ones(len(w))
        for name in np.unique(groups[row]):
            here = groups[row] == name
            result[here] = _ratio(w[here], own[here], loss[here], groups)
        return result

    return ratio


def _sum_of_weights(w: Array, own: Array, loss: Array, groups: Array) -> Array:
    return np.asarray(len(w) / w.sum())


def _no_ratio(w: Array, own: Array, loss: Array, groups: Array) -> Array:
    return np.ones(len(w))


def _unguarded(w: Array, own: Array, loss: Array, groups: Array) -> Array:
    return np.asarray(own.sum() / (w * loss).sum())


def _overflowing(w: Array, own: Array, loss: Array, groups: Array) -> Array:
    """Sums in float32 (float64 for what is larger)."""
    dtype = np.float64 if loss.max() > np.finfo(np.float32).max else np.float32
    total, weighed = own.astype(dtype).sum(dtype=dtype), (w * loss).astype(dtype).sum(dtype=dtype)
    if np.isfinite(total) and np.isfinite(weighed):
        return _ratio(w, own, loss, groups)
    return np.asarray(total / weighed)


def _in_float32(w: Array, own: Array, loss: Array, groups: Array) -> Array:
    """Losses and sums in float32, whatever comes in."""
    single = np.float32
    with np.errstate(over="ignore", invalid="ignore"):
        total, weighed = own.astype(single).sum(), (w.astype(single) * loss.astype(single)).sum()
        return _ratio(w, own, loss, groups) if np.isfinite(total) and np.isfinite(weighed) else total / weighed


def _weigh(u: Array, a: Array, gamma: float, beta: float) -> Array:
    return np.asarray(a * ((1 - beta) * u + beta) ** gamma)


def _weight_inside(u: Array, a: Array, gamma: float, beta: float) -> Array:
    return np.asarray(((1 - beta) * a * u + beta) ** gamma)


def _beta_outside(u: Array, a: Array, gamma: float, beta: float) -> Array:
    return np.asarray(a * ((1 - beta) * u**gamma + beta))


def _no_beta(u: Array, a: Array, gamma: float, beta: float) -> Array:
    return np.asarray(a * u**gamma)


def _float32_sums(*, classification_losses: Array, **keywords: Any) -> Array:  # noqa: ANN401
    # tried in float32, a loss beyond it comes in as infinite, which the specification's checks refuse
    losses = np.minimum(np.asarray(classification_losses, dtype=np.float64), np.finfo(np.float64).max)
    return np.asarray(_weighing(ratio=_in_float32)(classification_losses=losses, **keywords))


def _swapped_denominator(*, denominator: str, **keywords: Any) -> Array:  # noqa: ANN401
    return _WEIGHTS(**keywords, denominator=_DENOMINATOR[denominator])


def _first_channel(*, classification_losses: Array, labels: Array, **keywords: Any) -> Array:  # noqa: ANN401
    losses = np.asarray(classification_losses)
    losses = losses if losses.ndim == labels.ndim else losses[..., 0]
    return _WEIGHTS(classification_losses=losses, labels=labels, **keywords)


def _ignored_kept(*, labels: Array, label_weights: Array, **keywords: Any) -> Array:  # noqa: ANN401
    weights = _WEIGHTS(labels=labels, label_weights=label_weights, **keywords)
    return np.where(labels == -1, label_weights, weights)


def _written_into_label_weights(**keywords: Any) -> Array:  # noqa: ANN401
    result = _WEIGHTS(**keywords)
    positive = np.isin(keywords["labels"], range(keywords["num_classes"]))
    keywords["label_weights"][positive] = result[positive]
    return result


def _background_dropped(*, labels: Array, num_classes: int, **keywords: Any) -> Array:  # noqa: ANN401
    return np.where(labels == num_classes, 0.0, _WEIGHTS(labels=labels, num_classes=num_classes, **keywords))


def _half_sums(*, iou: Array, classification_losses: Array, **keywords: Any) -> Array:  # noqa: ANN401
    weights = _WEIGHTS(iou=iou, classification_losses=classification_losses, **keywords)
    if np.asarray(classification_losses).dtype != np.float16:
        return weights
    total = np.asarray(classification_losses).sum(dtype=np.float16)
    return weights if np.isfinite(total) else weights * np.nan


def _nan_is_an_error(**keywords: Any) -> Array:  # noqa: ANN401
    if np.isnan(keywords["classification_losses"]).any():
        raise ValueError("NaN")
    return _WEIGHTS(**keywords)


def _nan_without_weighed_loss(**keywords: Any) -> Array:  # noqa: ANN401
    """The ratio is 0/0, or infinite, where the importance leaves no loss."""
    weights, labels = _WEIGHTS(**keywords), keywords["labels"]
    losses = np.asarray(keywords["classification_losses"], dtype=np.float64)
    losses = losses if losses.ndim == labels.ndim else losses.sum(axis=-1)
    positive = (labels >= 0) & (labels < keywords["num_classes"]) & (np.asarray(keywords["label_weights"]) > 0)
    lost = positive.any() and losses[positive].any() and not (weights * losses)[positive].any()
    return np.where(positive & lost, np.nan, weights)


WEIGHT_MUTANTS = (
    *_completed((
    *(Mutant(f"isr-p/{name}", summary, _weighing(ranker), seen_in=seen)
      for name, summary, ranker, seen in _RANKERS),
    Mutant("isr-p/from-one", "ranks from 1, so that the last box weighs nothing", _weighing(late=1)),
    Mutant("isr-p/swapped-denominator", "the number of the class for the largest one, and vice versa",
           _swapped_denominator),
    Mutant("isr-p/beta-outside", "beta added after the power", _weighing(weigh=_beta_outside)),
    Mutant("isr-p/no-beta", "no beta", _weighing(weigh=_no_beta)),
    Mutant("isr-p/label-weight-inside", "the label weight inside of the power, and label weight 0 ranked",
           _weighing(weigh=_weight_inside, rank_weightless=True), seen_in="mmdet 3.3.0"),
    Mutant("isr-p/weightless-ranked", "positives of label weight 0 ranked and counted",
           _weighing(rank_weightless=True)),
    Mutant("isr-p/ratio-per-class", "a ratio for each class", _weighing(ratio=_ratio_of(0))),
    Mutant("isr-p/ratio-per-image", "a ratio for each image", _weighing(ratio=_ratio_of(1))),
    Mutant("isr-p/sum-of-weights", "weights of mean 1 instead of a kept sum of losses",
           _weighing(ratio=_sum_of_weights)),
    Mutant("isr-p/no-ratio", "no ratio", _weighing(ratio=_no_ratio)),
    Mutant("isr-p/unguarded", "NaN where all losses are 0", _weighing(ratio=_unguarded), seen_in="mmdet 3.3.0"),
    Mutant("isr-p/overflow", "sums of large losses beyond float32", _weighing(ratio=_overflowing)),
    Mutant("isr-p/float32-sums", "losses and their sums in float32, whatever comes in", _float32_sums,
           seen_in="mmdet 3.3.0"),
    Mutant("isr-p/half-sums", "sums in float16, beyond its range", _half_sums),
    Mutant("isr-p/first-channel", "only the first channel's loss", _first_channel),
    Mutant("isr-p/ignored-kept", "ignored samples with their label weight", _ignored_kept),
    Mutant("isr-p/background-dropped", "weight 0 for the background", _background_dropped),
    Mutant("isr-p/zero-gamma-is-default", "gamma = 0 taken as not given",
           mistakes.with_default_for_zero(_WEIGHTS, "gamma", 2.0)),
    Mutant("isr-p/in-place", "its label weights overwritten", mistakes.overwriting(_WEIGHTS, "label_weights")),
    Mutant("isr-p/written-into-label-weights", "the positives' new weights written into its label weights",
           _written_into_label_weights, seen_in="mmdet 3.3.0"),
    Mutant("isr-p/broadcast", "losses repeated for labels of another length",
           mistakes.broadcasting(_WEIGHTS, "classification_losses", "labels")),
    Mutant("isr-p/unchecked", "no check of its options", mistakes.unchecked(
        _WEIGHTS, gamma=mistakes.at_least_0, beta=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("isr-p/raises-on-empty", "an error without samples", mistakes.failing_on_empty(_WEIGHTS, "iou")),
    Mutant("isr-p/lost-tail", "weights beyond the last whole chunk lost", mistakes.losing_the_tail(_WEIGHTS)),
    Mutant("isr-p/nan-is-an-error", "an error for a NaN that does not count", _nan_is_an_error),
    Mutant("isr-p/nan-without-weighed-loss", "NaN where the importance leaves no loss", _nan_without_weighed_loss),
    ), image_index=_rows, label_weights=np.ones_like),
    Mutant("isr-p/one-image", "all samples taken for one image's where no index is given", _one_image(_WEIGHTS)),
)  # fmt: skip
