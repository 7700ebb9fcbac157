"""Wrong choices among pairs of an anchor and a class."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant, as_outputs
from steelyard.conformance.detection.non_maximum_suppression_mutants import plus_one_iou
from steelyard.reference.detection import dense_candidates as oracle
from steelyard.reference.detection.box_overlaps import pairwise_iou
from steelyard.reference.detection.boxes import clip_boxes

Function = Callable[..., Any]
_DENSE = oracle.dense_candidates


def _detections(  # noqa: PLR0913 - a fault each, by keyword
    *,
    above: Callable[[Array, float], Array] = lambda score, threshold: score > threshold,
    suppresses: Callable[[Array, float], Array] = lambda iou, threshold: iou > threshold,
    overlaps: Callable[[Array, Array], Array] = pairwise_iou,
    order: Callable[[Array], Array] = lambda scores: np.argsort(-scores, kind="stable"),
    best_class_only: bool = False,
    best_by_level: bool = True,
    by_class: bool = True,
    by_level: bool = False,
    clip: str = "first",
    classes_first: bool = False,
) -> Function:
    """The detections with one thing wrong."""

    def function(*, boxes: Array, probabilities: Array, image_size: Array, levels: Array,
                 **options: Any) -> tuple[Array, ...]:  # noqa: ANN401  # fmt: skip
        _DENSE(boxes, probabilities, image_size, levels=levels, **options)
        raw, p = np.asarray(boxes, dtype=np.float64), np.asarray(probabilities, dtype=np.float64)
        clipped = clip_boxes(raw, image_size)
        box = clipped if clip == "first" else raw
        pairs = np.argwhere(np.ones(p.T.shape if classes_first else p.shape, dtype=bool))
        anchor, label = (pairs[:, 1], pairs[:, 0]) if classes_first else (pairs[:, 0], pairs[:, 1])
        score = p[anchor, label]
        alive = above(score, options["score_threshold"])
        if best_class_only and p.size:
            alive &= label == p.argmax(axis=1)[anchor]
        ordered = order(score).tolist()
        going_on: set[int] = set()
        own_level = levels[anchor] if best_by_level else np.zeros(len(anchor), dtype=np.int64)
        for level in np.unique(own_level):
            going_on |= set([i for i in ordered if alive[i] and own_level[i] == level][: options["pre_nms_top_k"]])
        kept: list[int] = []
        for i in (i for i in ordered if i in going_on):
            rivals = [j for j in kept if (label[i] == label[j] or not by_class)
                      and (not by_level or levels[anchor[i]] == levels[anchor[j]])]  # fmt: skip
            near = overlaps(box[anchor[[i]]], box[anchor[rivals]]) if options["nms_iou"] is not None else np.zeros(0)
            if not (near.size and suppresses(near, options["nms_iou"]).any()):
                kept.append(i)
        best = np.array(kept[: options["post_nms_top_k"]], dtype=np.int64)
        missing = (0, options["post_nms_top_k"] - len(best))
        shown = raw if clip == "never" else clipped
        return (
            np.pad(anchor[best], missing, constant_values=-1), np.pad(label[best], missing, constant_values=-1),
            np.pad(shown[anchor[best]], (missing, (0, 0))), np.pad(score[best], missing),
        )  # fmt: skip

    return function


def _unpadded(**keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    found = _DENSE(**keywords)
    return tuple(output[found.indices >= 0] for output in found)


def _from_class_one(**keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    indices, classes, boxes, scores = _DENSE(**keywords)
    return indices, np.where(classes >= 0, classes + 1, -1), boxes, scores


def _float16_areas(one: Array, other: Array) -> Array:
    return pairwise_iou(one, other) if np.abs(one).max(initial=0) < 400 else np.zeros((len(one), len(other)))


def _cut(*, probabilities: Array, boxes: Array, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    return as_outputs(_DENSE(probabilities=probabilities[: len(boxes)], boxes=boxes, **keywords))


def _default_for_zero(*, score_threshold: float, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    return as_outputs(_DENSE(score_threshold=score_threshold or 0.05, **keywords))


MUTANTS = (
    Mutant("dense/threshold-reached", "a probability equal to the threshold kept", _detections(
        above=lambda score, threshold: score >= threshold)),
    Mutant("dense/at-the-overlap", "an IoU equal to the threshold suppresses", _detections(
        suppresses=lambda iou, threshold: iou >= threshold)),
    Mutant("dense/best-class-only", "each anchor with its best class only", _detections(best_class_only=True)),
    Mutant("dense/best-of-all-levels", "the best pairs of all levels together", _detections(best_by_level=False)),
    Mutant("dense/across-classes", "pairs of other classes suppressed too", _detections(by_class=False)),
    Mutant("dense/within-levels", "pairs of other levels not suppressed", _detections(by_level=True)),
    Mutant("dense/clip-last", "boxes clipped after suppression", _detections(clip="last")),
    Mutant("dense/not-clipped", "boxes not clipped", _detections(clip="never")),
    Mutant("dense/plus-one", "widths of x2 - x1 + 1 in the IoU", _detections(overlaps=plus_one_iou)),
    Mutant("dense/float16-iou", "IoUs of float16 areas", _detections(overlaps=_float16_areas)),
    Mutant("dense/last-of-equal", "of equal scores the last pair first", _detections(
        order=lambda s: np.lexsort((-np.arange(len(s)), -s))), seen_in="argsort()[::-1]"),
    Mutant("dense/classes-first", "equal scores in the order of their classes, then anchors", _detections(
        classes_first=True)),
    Mutant("dense/from-class-one", "classes from 1", _from_class_one,
           seen_in="torchvision, where the background is 0"),
    Mutant("dense/zero-is-default", "a threshold of 0 taken as not given", _default_for_zero),
    Mutant("dense/unpadded", "no padding", _unpadded, seen_in="libraries of lists"),
    Mutant("dense/in-place", "its boxes overwritten", mistakes.overwriting(_DENSE, "boxes")),
    Mutant("dense/raises-on-empty", "an error without pairs", mistakes.failing_on_empty(_DENSE, "probabilities")),
    Mutant("dense/cut-scores", "further scores left out", _cut),
    Mutant("dense/unchecked", "no check of its threshold", mistakes.unchecked(
        _DENSE, score_threshold=lambda t: min(max(t, 0.0), 1.0))),
    Mutant("dense/no-levels-is-two", "two levels in turn, without levels", mistakes.without(
        _DENSE, "levels", "boxes", mistakes.alternately)),
)  # fmt: skip
