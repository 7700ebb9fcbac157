"""Wrong suppressions, and wrong choices of the best of each level."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.reference.detection import non_maximum_suppression as oracle
from steelyard.reference.detection.box_overlaps import pairwise_iou

# --- suppression -----------------------------------------------------------------------------------

Function = Callable[..., Any]
_NMS, _TOP_K = oracle.greedy_non_maximum_suppression, oracle.top_k_by_level


def plus_one_iou(one: Array, other: Array) -> Array:
    """IoU of boxes whose last pixel is inside: widths of x2 - x1 + 1."""
    longer = np.array([0.0, 0.0, 1.0, 1.0])
    return np.asarray(pairwise_iou(one + longer, other + longer))


def _over_smaller(one: Array, other: Array) -> Array:
    area = ((one[:, 2:] - one[:, :2]).prod(axis=1)[:, None], (other[:, 2:] - other[:, :2]).prod(axis=1)[None])
    iou = pairwise_iou(one, other)
    shared = iou * (area[0] + area[1]) / (1.0 + iou)
    smaller = np.minimum(*np.broadcast_arrays(*area))
    return np.divide(shared, smaller, out=np.zeros(shared.shape), where=smaller > 0)


def _nan_for_points(one: Array, other: Array) -> Array:
    """0/0 for two boxes without an area, and what is not at most the threshold is suppressed."""
    empty = [np.asarray((boxes[:, 2:] <= boxes[:, :2]).any(axis=1)) for boxes in (one, other)]
    return np.where(empty[0][:, None] & empty[1], np.inf, pairwise_iou(one, other))


def suppression(
    *,
    overlaps: Callable[[Array, Array], Array] = pairwise_iou,
    suppresses: Callable[[Array, float], Array] = lambda iou, threshold: iou > threshold,
    order: Callable[[Array], Array] = lambda scores: np.argsort(-scores, kind="stable"),
    by_group: bool = True,
    by_suppressed: bool = False,
    masked: bool = True,
    at_most: int | None = None,
) -> Function:
    """Greedy suppression with one thing wrong."""

    def function(*, boxes: Array, scores: Array, groups: Array, mask: Array, iou_threshold: float) -> Array:
        _NMS(boxes, scores, iou_threshold=iou_threshold, groups=groups, mask=mask)
        box, score = np.asarray(boxes, dtype=np.float64), np.asarray(scores, dtype=np.float64)
        near = suppresses(overlaps(box, box), iou_threshold)
        if by_group:
            near = near & (groups[:, None] == groups)
        alive = np.asarray(mask, dtype=bool) if masked else np.ones(len(box), dtype=bool)
        kept = np.zeros(len(box), dtype=bool)
        seen: list[int] = []
        for i in order(score).tolist()[:at_most]:
            if alive[i] and not near[seen, i].any():
                kept[i] = True
            if kept[i] or (by_suppressed and alive[i]):
                seen.append(i)
        return kept & np.asarray(mask, dtype=bool)

    return function


NMS_MUTANTS = (
    Mutant("nms/at-the-threshold", "an IoU equal to the threshold suppresses",
           suppression(suppresses=lambda iou, t: iou >= t)),
    Mutant("nms/plus-one", "widths of x2 - x1 + 1", suppression(overlaps=plus_one_iou),
           seen_in="py-faster-rcnn's nms"),
    Mutant("nms/over-smaller", "the smaller area in place of the union", suppression(overlaps=_over_smaller)),
    Mutant("nms/nan-for-points", "points and lines suppressing each other", suppression(overlaps=_nan_for_points),
           seen_in="loops that keep what is <= the threshold, where 0/0 is NaN"),
    Mutant("nms/across-groups", "boxes of other groups suppressed too", suppression(by_group=False)),
    Mutant("nms/by-suppressed", "suppressed boxes suppressing others", suppression(by_suppressed=True)),
    Mutant("nms/lowest-first", "the lowest score first",
           suppression(order=lambda s: np.argsort(s, kind="stable"))),
    Mutant("nms/input-order", "boxes in the order in which they came", suppression(order=lambda s: np.arange(len(s)))),
    Mutant("nms/last-of-equal", "of equal scores the higher index first",
           suppression(order=lambda s: np.lexsort((-np.arange(len(s)), -s))), seen_in="argsort()[::-1]"),
    Mutant("nms/masked-suppress", "boxes outside the mask suppressing others", suppression(masked=False)),
    Mutant("nms/thousand", "boxes beyond the thousandth lost", suppression(at_most=1000)),
    Mutant("nms/in-place", "its scores overwritten", mistakes.overwriting(_NMS, "scores"), seen_in="soft-NMS copies"),
    Mutant("nms/raises-on-empty", "an error without boxes", mistakes.failing_on_empty(_NMS, "scores")),
    Mutant("nms/broadcast", "one score repeated for all boxes", mistakes.broadcasting(_NMS, "scores", "boxes")),
    Mutant("nms/unchecked", "no check of its threshold", mistakes.unchecked(
        _NMS, iou_threshold=lambda t: min(max(t, 0.0), 1.0))),
    Mutant("nms/float16-iou", "IoUs of float16 areas", suppression(overlaps=lambda one, other: (
        pairwise_iou(one, other) if np.abs(one).max(initial=0) < 1024 else np.zeros((len(one), len(other)))))),
    Mutant("nms/no-groups-is-two", "two groups in turn, without groups", mistakes.without(
        _NMS, "groups", "scores", mistakes.alternately)),
    Mutant("nms/no-mask-is-none", "nothing kept without a mask", mistakes.without(
        _NMS, "mask", "scores", mistakes.none_of)),
)  # fmt: skip

# --- the best of each level ----------------------------------------------------------------------------------------


def _best(*, by_level: bool = True, masked: bool = True, more: int = 0,
          key: Callable[[Array], Array] = lambda s: np.argsort(-s, kind="stable"),
          tied: bool = False) -> Function:  # fmt: skip
    """The best of each level with one thing wrong."""

    def function(*, scores: Array, levels: Array, mask: Array, top_k: int | None, num_levels: int) -> Array:
        right = _TOP_K(scores, levels=levels, mask=mask, top_k=top_k, num_levels=num_levels)
        if top_k is None:
            return right
        score, part = np.asarray(scores, dtype=np.float64), np.asarray(mask, dtype=bool)
        kept = np.zeros(len(score), dtype=bool)
        for level in range(num_levels if by_level else 1):
            members = (levels == level) if by_level else np.ones(len(score), dtype=bool)
            members = members & part if masked else members
            order = [i for i in key(score) if members[i]][: top_k + more]
            kept[order] = True
            if tied and order:
                kept |= members & (score >= score[order].min())
        return kept & part

    return function


def _keeps_nothing_without_k(*, top_k: int | None, mask: Array, **keywords: Any) -> Array:  # noqa: ANN401
    right = _TOP_K(top_k=top_k, mask=mask, **keywords)
    return right & (top_k is not None)


def _needs_k(*, scores: Array, levels: Array, top_k: int | None, **keywords: Any) -> Array:  # noqa: ANN401
    """It takes the top k of a level that has fewer."""
    if top_k is not None and len(scores) and any((levels == level).sum() < top_k for level in np.unique(levels)):
        raise IndexError("selected index k out of range")
    return _TOP_K(scores=scores, levels=levels, top_k=top_k, **keywords)


TOP_K_MUTANTS = (
    Mutant("top-k/all-levels", "the k best of all levels together", _best(by_level=False)),
    Mutant("top-k/one-more", "k + 1 of each level", _best(more=1)),
    Mutant("top-k/lowest", "the k lowest scores", _best(key=lambda s: np.argsort(s, kind="stable"))),
    Mutant("top-k/largest-size", "the k scores of largest size", _best(
        key=lambda s: np.argsort(-np.abs(s), kind="stable"))),
    Mutant("top-k/last-of-equal", "of equal scores the higher index", _best(
        key=lambda s: np.lexsort((-np.arange(len(s)), -s))), seen_in="argsort()[::-1]"),
    Mutant("top-k/all-of-equal", "all scores that are as high as the k-th", _best(tied=True)),
    Mutant("top-k/masked-count", "what is outside the mask taking places", _best(masked=False)),
    Mutant("top-k/none-is-nothing", "nothing kept without a limit", _keeps_nothing_without_k),
    Mutant("top-k/raises-on-few", "an error where a level has fewer than k", _needs_k, seen_in="torch.topk"),
    Mutant("top-k/in-place", "its scores overwritten", mistakes.overwriting(_TOP_K, "scores")),
    Mutant("top-k/raises-on-empty", "an error without candidates", mistakes.failing_on_empty(_TOP_K, "scores")),
    Mutant("top-k/broadcast", "one level repeated for all scores", mistakes.broadcasting(
        _TOP_K, "levels", "scores")),
    Mutant("top-k/unchecked", "no check of k", mistakes.unchecked(
        _TOP_K, top_k=lambda k: k if k is None else max(k, 1))),
    Mutant("top-k/no-levels-is-two", "two levels in turn, without levels", mistakes.without(
        _TOP_K, "levels", "scores", mistakes.alternately)),
    Mutant("top-k/no-mask-is-none", "nothing kept without a mask", mistakes.without(
        _TOP_K, "mask", "scores", mistakes.none_of)),
)  # fmt: skip
