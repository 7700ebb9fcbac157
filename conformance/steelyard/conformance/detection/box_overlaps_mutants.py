"""Wrong overlaps of boxes: the mistakes of real libraries, and plain ones."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.contract import Array, Mutant
from steelyard.conformance.detection.box_inputs import broadcasting_sides

Function = Callable[..., Any]
Overlap = Callable[["Parts"], Array]


class Parts(NamedTuple):
    """Areas that an overlap is made of, of every pair."""

    shared: Array
    area: Array
    other_area: Array
    enclosing: Array

    @property
    def union(self) -> Array:
        """Area that is in either box."""
        return self.area + self.other_area - self.shared


def iou(parts: Parts) -> Array:
    return ratio(parts.shared, parts.union)


def giou(parts: Parts) -> Array:
    return iou(parts) - ratio(parts.enclosing - parts.union, parts.enclosing)


def share(parts: Parts) -> Array:
    return ratio(parts.shared, parts.area)


def plain_iou(parts: Parts) -> Array:
    return parts.shared / parts.union


def plain_giou(parts: Parts) -> Array:
    return plain_iou(parts) - (parts.enclosing - parts.union) / parts.enclosing


def plain_share(parts: Parts) -> Array:
    return parts.shared / parts.area


def clamped_iou(parts: Parts) -> Array:
    return parts.shared / np.maximum(parts.union, 1e-6)


def clamped_giou(parts: Parts) -> Array:
    union, enclosing = np.maximum(parts.union, 1e-6), np.maximum(parts.enclosing, 1e-6)
    return parts.shared / union - (enclosing - union) / enclosing


def clamped_share(parts: Parts) -> Array:
    return parts.shared / np.maximum(parts.area, 1e-6)


def ratio(part: Array, whole: Array) -> Array:
    """0 where the whole is 0."""
    part, whole = np.broadcast_arrays(part, whole)
    return np.divide(part, whole, out=np.zeros(part.shape, dtype=part.dtype), where=whole > 0)


def changed(
    right: Function,
    overlap: Overlap,
    *,
    names: tuple[str, str] = ("boxes", "other_boxes"),
    aligned: bool = False,
    plus: float = 0.0,
    negative_sides: bool = False,
    negative_gaps: bool = False,
    in_half: bool = False,
) -> Function:
    """An overlap with the specification's checks and one thing changed."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        if np.size(right(**keywords)) == 0:
            return np.asarray(right(**keywords))
        one, other = (np.asarray(keywords[name]) for name in names)
        if not (in_half and one.dtype == np.float16):
            one, other = one.astype(np.float64), other.astype(np.float64)
        one, other = (one, other) if aligned else (one[:, None], other[None, :])
        low, high = np.maximum(one[..., :2], other[..., :2]), np.minimum(one[..., 2:], other[..., 2:])
        gap = high - low + one.dtype.type(plus)
        shared = (gap if negative_gaps else np.maximum(gap, 0)).prod(axis=-1)
        around = np.maximum(one[..., 2:], other[..., 2:]) - np.minimum(one[..., :2], other[..., :2])
        enclosing = np.maximum(around + one.dtype.type(plus), 0).prod(axis=-1)
        areas = []
        for boxes in (one, other):
            sides = boxes[..., 2:] - boxes[..., :2] + one.dtype.type(plus)
            areas.append((sides if negative_sides else np.maximum(sides, 0)).prod(axis=-1))
        answer = overlap(Parts(shared, areas[0], areas[1], enclosing))
        return answer.astype(np.float32) if answer.dtype == np.float16 else answer

    return mutant


def _thick(boxes: Array) -> Array:
    """Points and lines one pixel wide; what the specification refuses stays as it is."""
    boxes = np.asarray(boxes)
    if boxes.shape[1] != 4:
        return boxes
    return np.concatenate([boxes[:, :2], boxes[:, 2:] + (boxes[:, 2:] == boxes[:, :2])], axis=1)


def _upright(boxes: Array) -> Array:
    """Each box with its smaller coordinates first; what the specification refuses stays as it is."""
    boxes = np.asarray(boxes)
    if boxes.shape[1] != 4:
        return boxes
    return np.concatenate([np.minimum(boxes[:, :2], boxes[:, 2:]), np.maximum(boxes[:, :2], boxes[:, 2:])], axis=1)


def _of(right: Function, names: tuple[str, str], change: Callable[[Array], Array]) -> Function:
    """The right function of changed boxes."""
    return mistakes.unchecked(right, **dict.fromkeys(names, change))


def common_mutants(
    prefix: str, right: Function, overlap: Overlap, *, names: tuple[str, str] = ("boxes", "other_boxes"),
    aligned: bool = False,
) -> tuple[Mutant, ...]:  # fmt: skip
    """The mistakes that every overlap can have."""
    with_fault = partial(changed, right, overlap, names=names, aligned=aligned)

    def corner_and_size(**keywords: Any) -> Array:  # noqa: ANN401
        boxes = {name: np.asarray(keywords[name]) for name in names}
        right(**keywords)
        return np.asarray(right(**{n: np.concatenate([b[:, :2], b[:, :2] + b[:, 2:]], 1) for n, b in boxes.items()}))

    return (
        Mutant(f"{prefix}/plus-one", "one pixel more in width and height", with_fault(plus=1.0),
               seen_in="py-faster-rcnn's and Detectron's bbox_overlaps"),
        Mutant(f"{prefix}/lines-have-a-pixel", "points and lines one pixel wide", _of(right, names, _thick)),
        Mutant(f"{prefix}/upright", "the corners of an inverted box exchanged", _of(right, names, _upright)),
        Mutant(f"{prefix}/negative-gaps", "two boxes that lie diagonally apart taken for overlapping",
               with_fault(negative_gaps=True)),
        Mutant(f"{prefix}/half-arithmetic", "its arithmetic in float16, where areas overflow",
               with_fault(in_half=True)),
        Mutant(f"{prefix}/corner-and-size", "boxes read as corner and size", corner_and_size),
        Mutant(f"{prefix}/in-place", "its boxes overwritten", mistakes.overwriting(right, names[0])),
        Mutant(f"{prefix}/raises-on-empty", "an error where there is no box",
               mistakes.failing_on_empty(mistakes.failing_on_empty(right, names[0]), names[1])),
        Mutant(f"{prefix}/lost-tail", "the last pairs of a large input left out", mistakes.losing_the_tail(right)),
        Mutant(f"{prefix}/unchecked", "boxes of three numbers, the last of them both sides",
               _of(right, names, broadcasting_sides)),
    )  # fmt: skip
