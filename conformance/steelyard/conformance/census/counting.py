"""One image: its anchors, and which of them a detector's assignment calls foreground.

The specification is `steelyard.reference.detection` (anchors, max-IoU matching, counts). What is done here besides is
to do it for a hundred thousand images: anchors are kept for each size of image, IoUs are computed an object at a time,
and only the anchors that can be anything but background go through the matching.

IoUs are computed in float32 where nothing else is asked for, as detectors do: on real annotations an IoU that is within
rounding of a threshold happens about once in ten million anchors.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from steelyard.conformance.census.annotation_files import AnnotatedImage
from steelyard.conformance.contract import Array
from steelyard.conformance.doors import UsageError
from steelyard.reference import (
    count_labels,
    faster_rcnn_anchors,
    inside_image,
    max_iou_matching,
    resized_image_size,
    retinanet_anchors,
)
from steelyard.reference.detection.boxes import area_of, intersection_of
from steelyard.reference.detection.census import Census


class Anchors(NamedTuple):
    """All anchors of an image."""

    boxes: Array
    levels: Array


def _retinanet(height: int, width: int) -> Anchors:
    return Anchors(*retinanet_anchors(height=height, width=width))


def _faster_rcnn(height: int, width: int) -> Anchors:
    boxes = faster_rcnn_anchors(height=height, width=width)
    return Anchors(boxes, np.zeros(len(boxes), dtype=np.int64))


@dataclass(frozen=True)
class Design:
    """Anchors and the rule that labels them, as a detector has them."""

    name: str
    anchors: Callable[[int, int], Anchors]
    level_names: tuple[str, ...]
    short_side: int
    long_side: int
    foreground_iou: float
    background_iou: float
    low_quality: bool
    universe: str
    dtype: str = "float32"

    def described(self) -> dict[str, Any]:
        """Everything that decides what is counted, for the record."""
        names = ("short_side", "long_side", "foreground_iou", "background_iou", "low_quality", "universe", "dtype")
        return {"design": self.name, **{name: getattr(self, name) for name in names}}


DESIGNS = {
    design.name: design
    for design in (
        Design("retinanet", _retinanet, ("P3", "P4", "P5", "P6", "P7"), 800, 1333, 0.5, 0.4, False, "all"),
        Design("faster_rcnn", _faster_rcnn, ("C4",), 600, 1000, 0.7, 0.3, True, "inside"),
    )
}
"""Of Lin et al. 2017 (section 4), and of the region proposal network of Ren et al. 2015 (sections 3.1 and 3.3)."""


def changed(design: Design, **options: Any) -> Design:  # noqa: ANN401 - the fields of a design
    """A design with the options that are not None."""
    made = replace(design, **{name: value for name, value in options.items() if value is not None})
    if not 0 < made.background_iou <= made.foreground_iou <= 1:
        raise UsageError(
            f"thresholds: expected 0 < background <= foreground <= 1, got background {made.background_iou} and"
            f" foreground {made.foreground_iou}"
        )
    if not 1 <= made.short_side <= made.long_side:
        raise UsageError(f"sides: expected 1 <= short side <= long side, got {made.short_side} and {made.long_side}")
    return made


def count_image(image: AnnotatedImage, design: Design, num_classes: int) -> Census:
    """Census of the anchors of one image."""
    size = resized_image_size(
        height=image.height, width=image.width, short_side=design.short_side, long_side=design.long_side
    )
    anchors, levels = _anchors(design, *size)
    factors = np.tile([size[1] / image.width, size[0] / image.height], 2)
    boxes = (image.boxes * factors).astype(design.dtype)
    labels = _labels(anchors, boxes, image.labels, design, num_classes)
    return count_labels(labels, num_classes=num_classes, levels=levels, num_levels=len(design.level_names))


def _labels(anchors: Array, boxes: Array, box_labels: Array, design: Design, num_classes: int) -> Array:
    labels = np.full(len(anchors), num_classes)
    # below the threshold of background with every object, and no object's best: nothing but background
    undecided = np.zeros(len(anchors), dtype=np.bool_)
    for box in boxes:
        overlap = _overlaps(anchors, box)
        undecided |= overlap >= design.background_iou
        if design.low_quality:
            undecided |= overlap == overlap.max(initial=0)
    matching = max_iou_matching(
        np.array([_overlaps(anchors[undecided], box) for box in boxes]).reshape(len(boxes), undecided.sum()),
        foreground_iou=design.foreground_iou,
        background_iou=design.background_iou,
        low_quality="keep" if design.low_quality else None,
    )
    if undecided.any():
        of_class = np.where(matching.state == 1, box_labels[matching.matched_gt], -1)
        labels[undecided] = np.where(matching.state == 0, num_classes, of_class)
    return labels


def _overlaps(anchors: Array, box: Array) -> Array:
    """IoU of every anchor with one box, in the precision of both."""
    intersection = intersection_of(anchors, box)
    union = area_of(anchors) + area_of(box) - intersection
    return np.asarray(intersection / np.maximum(union, np.finfo(union.dtype).tiny))


@lru_cache(maxsize=16)
def _anchors(design: Design, height: int, width: int) -> Anchors:
    boxes, levels = design.anchors(height, width)
    if design.universe == "inside":
        kept = inside_image(boxes, [height, width])
        boxes, levels = boxes[kept], levels[kept]
    return Anchors(boxes.astype(design.dtype), levels)
