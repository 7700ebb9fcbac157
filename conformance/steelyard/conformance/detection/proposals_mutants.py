"""Wrong filters of proposals: steps left out, in another order, or with another comparison."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.detection.non_maximum_suppression_mutants import plus_one_iou
from steelyard.reference.detection import proposals as oracle
from steelyard.reference.detection.box_overlaps import pairwise_iou
from steelyard.reference.detection.boxes import clip_boxes

Function = Callable[..., Any]
_FILTER = oracle.filter_proposals


def _stable(scores: Array) -> Array:
    return np.argsort(-scores, kind="stable")


def _filter(  # noqa: PLR0913 - a fault each, by keyword
    *,
    order: Callable[[Array], Array] = _stable,
    best_by_level: bool = True,
    suppressed_by_level: bool = True,
    clip: str = "first",
    side: Callable[[Array, float], Array] = lambda side, shortest: side > shortest,
    score: Callable[[Array, float], Array] = lambda score, lowest: score >= lowest,
    suppresses: Callable[[Array, float], Array] = lambda iou, threshold: iou > threshold,
    overlaps: Callable[[Array, Array], Array] = pairwise_iou,
    threshold_first: bool = False,
    masked: bool = True,
    by_level_out: bool = False,
) -> Function:
    """The filter with one thing wrong."""

    def function(*, boxes: Array, objectness: Array, image_size: Array, levels: Array, mask: Array,
                 **options: Any) -> tuple[Array, ...]:  # noqa: ANN401  # fmt: skip
        _FILTER(boxes, objectness, image_size, levels=levels, mask=mask, **options)
        raw, s = np.asarray(boxes, dtype=np.float64), np.asarray(objectness, dtype=np.float64)
        clipped = clip_boxes(raw, image_size)
        box = raw if clip != "first" else clipped
        likely = np.ones(len(s), dtype=bool)
        if options["objectness_threshold"] is not None:
            likely = score(s, options["objectness_threshold"])
        takes_part = np.asarray(mask, dtype=bool) if masked else np.ones(len(s), dtype=bool)
        if threshold_first:
            takes_part = takes_part & likely
        alive = np.zeros(len(s), dtype=bool)
        ordered = order(s).tolist()
        level_of_choice = levels if best_by_level else np.zeros(len(s), dtype=np.int64)
        for level in np.unique(level_of_choice):
            of_level = [i for i in ordered if takes_part[i] and level_of_choice[i] == level]
            alive[of_level[: options["pre_nms_top_k"]]] = True
        alive &= side(box[:, 2:] - box[:, :2], options["minimum_side"]).all(axis=1) & likely
        kept: list[int] = []
        for i in ordered:
            rivals = [j for j in kept if levels[i] == levels[j] or not suppressed_by_level]
            near = overlaps(box[i : i + 1], box[rivals]) if options["nms_iou"] is not None else np.zeros(0)
            if alive[i] and not (near.size and suppresses(near, options["nms_iou"]).any()):
                kept.append(i)
        if by_level_out:
            kept.sort(key=lambda i: int(levels[i]))
        return rows(kept, raw if clip == "never" else clipped, s, np.asarray(mask, dtype=bool),
                    options["post_nms_top_k"])  # fmt: skip

    return function


def rows(kept: list[int], boxes: Array, scores: Array, mask: Array, size: int) -> tuple[Array, ...]:
    """The best of what was kept, with padding."""
    best = np.array([i for i in kept if mask[i]][:size], dtype=np.int64)
    missing = (0, size - len(best))
    return (
        np.pad(best, missing, constant_values=-1),
        np.pad(boxes[best], (missing, (0, 0))),
        np.pad(scores[best], missing),
    )


def _unpadded(**keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    indices, boxes, scores = _FILTER(**keywords)
    return indices[indices >= 0], boxes[indices >= 0], scores[indices >= 0]


def _padded_with_zero(**keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    indices, boxes, scores = _FILTER(**keywords)
    return np.maximum(indices, 0), boxes, scores


def _float16_areas(one: Array, other: Array) -> Array:
    return pairwise_iou(one, other) if np.abs(one).max(initial=0) < 400 else np.zeros((len(one), len(other)))


def _width_before_height(*, image_size: Array, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    return tuple(_FILTER(image_size=image_size[::-1], **keywords))


def _post_for_pre(*, post_nms_top_k: int, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    few = keywords["pre_nms_top_k"]
    return tuple(_FILTER(**{**keywords, "pre_nms_top_k": post_nms_top_k if few is None else min(few, post_nms_top_k)},
                         post_nms_top_k=post_nms_top_k))  # fmt: skip


def _zero_is_none(*, objectness_threshold: float | None, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    return tuple(_FILTER(objectness_threshold=objectness_threshold or None, **keywords))


def _broadcast(*, objectness: Array, boxes: Array, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    return tuple(_FILTER(objectness=objectness[: len(boxes)], boxes=boxes, **keywords))


MUTANTS = (
    Mutant("proposals/clip-last", "boxes clipped after suppression", _filter(clip="last"),
           seen_in="a copy that decodes, suppresses and clips"),
    Mutant("proposals/not-clipped", "boxes not clipped", _filter(clip="never")),
    Mutant("proposals/best-of-all-levels", "the best scores of all levels together", _filter(best_by_level=False)),
    Mutant("proposals/across-levels", "boxes of other levels suppressed too", _filter(suppressed_by_level=False)),
    Mutant("proposals/not-merged", "level after level, not by score", _filter(by_level_out=True)),
    Mutant("proposals/side-reached", "boxes of the shortest side kept", _filter(side=lambda s, t: s >= t),
           seen_in="py-faster-rcnn's filter, with its + 1"),
    Mutant("proposals/one-side", "boxes kept for one long side", _filter(
        side=lambda s, t: np.broadcast_to(np.asarray((s > t).any(axis=1))[:, None], s.shape))),
    Mutant("proposals/score-above", "a score equal to the lowest dropped", _filter(score=lambda s, t: s > t)),
    Mutant("proposals/at-the-threshold", "an IoU equal to the threshold suppresses", _filter(
        suppresses=lambda iou, t: iou >= t)),
    Mutant("proposals/plus-one", "widths of x2 - x1 + 1 in the IoU", _filter(overlaps=plus_one_iou),
           seen_in="py-faster-rcnn"),
    Mutant("proposals/float16-iou", "IoUs of float16 areas", _filter(overlaps=_float16_areas)),
    Mutant("proposals/last-of-equal", "of equal scores the higher index first", _filter(
        order=lambda s: np.lexsort((-np.arange(len(s)), -s))), seen_in="argsort()[::-1]"),
    Mutant("proposals/threshold-first", "the lowest score before the best of each level, of logits by their size",
           _filter(threshold_first=True, score=lambda s, t: np.abs(s) >= t)),
    Mutant("proposals/masked-count", "what is outside the mask taking places", _filter(masked=False)),
    Mutant("proposals/post-before", "the last choice made before suppression", _post_for_pre),
    Mutant("proposals/zero-is-none", "a lowest score of 0 taken as not given", _zero_is_none),
    Mutant("proposals/width-first", "image_size read as width and height", _width_before_height),
    Mutant("proposals/unpadded", "no padding", _unpadded, seen_in="libraries of lists"),
    Mutant("proposals/padded-with-zero", "candidate 0 in rows of padding", _padded_with_zero),
    Mutant("proposals/in-place", "its boxes overwritten", mistakes.overwriting(_FILTER, "boxes"),
           seen_in="clip_ in place"),
    Mutant("proposals/raises-on-empty", "an error without candidates",
           mistakes.failing_on_empty(_FILTER, "objectness")),
    Mutant("proposals/cut-scores", "further scores left out", _broadcast),
    Mutant("proposals/unchecked", "no check of its numbers", mistakes.unchecked(
        _FILTER, post_nms_top_k=lambda k: max(k, 1), minimum_side=mistakes.at_least_0)),
    Mutant("proposals/no-levels-is-two", "two levels in turn, without levels", mistakes.without(
        _FILTER, "levels", "objectness", mistakes.alternately)),
    Mutant("proposals/no-mask-is-none", "nothing proposed without a mask", mistakes.without(
        _FILTER, "mask", "objectness", mistakes.none_of)),
)  # fmt: skip
