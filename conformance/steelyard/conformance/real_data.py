"""The suite's real data as scenes: what a trained detector makes of photographs."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

from steelyard.conformance.contract import Array
from steelyard.reference.soft_sampling.distribution_focal_loss import (
    boxes_from_distances,
    distances_from_boxes,
    distribution_expectation,
)

_DATA = Path(__file__).parent / "data"
_DENSE = _DATA / "nanodet320_dense.npz"
_POINTS = _DATA / "nanodet320_points.npz"
_ANNOTATIONS = _DATA / "coco_exact_annotations.json"
_COUNTS = _DATA / "class_counts.json"
LVIS_IMAGES = 100_170
"""Images of LVIS v1's training set."""


@dataclass(frozen=True)
class DenseImage:
    """Every output of a one-stage detector on one photograph, and what its points are to learn."""

    image_id: int
    class_logits: Array
    """[2100, 80]"""
    distance_logits: Array
    """[2100, 4, 8]"""
    labels: Array
    """[2100], 80 is the background."""
    quality: Array
    """[2100], IoU of the predicted box with the point's own; 0 at background points."""
    distance_targets: Array
    """[2100, 4], in strides, within the bins; 0 at background points."""
    giou_losses: Array
    """[2100], 1 - GIoU of the predicted box with the point's own; 0 at background points."""


@dataclass(frozen=True)
class ProposalsOfImage:
    """The 256 best boxes of a one-stage detector on one photograph, before any suppression, and its own objects."""

    image_id: int
    boxes: Array
    """[256, 4], x1, y1, x2, y2 in pixels of the 320 x 320 input, decoded, not clipped; best first."""
    scores: Array
    """[256], logit of the best class, a float16 number: several boxes share one."""
    classes: Array
    """[256], the best class."""
    levels: Array
    """[256], 0, 1, 2 for strides 8, 16, 32."""
    gt_boxes: Array
    """[M, 4], in the same pixels, without crowds."""
    gt_classes: Array
    """[M], 0..79."""


@dataclass(frozen=True)
class PointsOfImage:
    """The best score of each of a detector's 2100 points on one photograph, and what they are to learn."""

    image_id: int
    scores: Array
    """[2100], logit of the best class, a float16 number: about a thousand distinct ones."""
    classes: Array
    """[2100], the best class."""
    labels: Array
    """[2100], 80 is the background."""
    object_logits: Array
    """[2100], logit of the object's own class at foreground points; NaN at background points."""


@cache
def dense_image(number: int) -> DenseImage:
    """One of the three images; the numbers wrap around."""
    with np.load(_DENSE, allow_pickle=False) as data:
        image = number % len(data["image_id"])
        first, last = data["gt_offset"][image : image + 2]
        boxes, classes = data["gt_boxes"][first:last].astype(np.float64), data["gt_class"][first:last]
        assigned = data["assigned_gt"][image].astype(np.int64)
        points, strides = data["points"].astype(np.float64), data["stride"].astype(np.float64)
        distance_logits = data["dfl_logits"][image].astype(np.float64)
        class_logits = data["cls_logits"][image].astype(np.float64)
        image_id = int(data["image_id"][image])
    foreground = assigned >= 0
    own = boxes[np.maximum(assigned, 0)]
    num_bins = distance_logits.shape[-1]
    predicted = boxes_from_distances(points, distribution_expectation(distance_logits), strides)
    targets = distances_from_boxes(points, own, strides, num_bins=num_bins)
    iou, giou = _iou_and_giou(predicted, own)
    return DenseImage(
        image_id,
        class_logits,
        distance_logits,
        np.where(foreground, classes[np.maximum(assigned, 0)], class_logits.shape[-1]).astype(np.int64),
        np.where(foreground, iou, 0.0),
        np.where(foreground[:, None], targets, 0.0),
        np.where(foreground, 1.0 - giou, 0.0),
    )


@cache
def proposals_of_image(number: int) -> ProposalsOfImage:
    """One of the 64 images; the numbers wrap around."""
    with np.load(_POINTS, allow_pickle=False) as data:
        image = number % len(data["image_id"])
        first, last = data["gt_offset"][image : image + 2]
        best = data["top_point"][image].astype(np.int64)
        strides = data["stride"][best]
        return ProposalsOfImage(
            int(data["image_id"][image]),
            data["top_boxes"][image].astype(np.float64),
            data["max_logit"][image, best].astype(np.float64),
            data["max_class"][image, best].astype(np.int64),
            np.searchsorted(np.unique(data["stride"]), strides),
            data["gt_boxes"][first:last].astype(np.float64),
            data["gt_class"][first:last].astype(np.int64),
        )


@cache
def points_of_image(number: int) -> PointsOfImage:
    """One of the 64 images; the numbers wrap around."""
    with np.load(_POINTS, allow_pickle=False) as data:
        image = number % len(data["image_id"])
        (first, last), gt_first = data["fg_offset"][image : image + 2], data["gt_offset"][image]
        point = data["fg_point"][first:last].astype(np.int64)
        own_class = data["gt_class"][gt_first + data["fg_gt"][first:last].astype(np.int64)].astype(np.int64)
        class_logits = data["fg_cls_logits"][first:last].astype(np.float64)
        scores = data["max_logit"][image].astype(np.float64)
        classes = data["max_class"][image].astype(np.int64)
        image_id = int(data["image_id"][image])
    labels = np.full(scores.shape, class_logits.shape[-1])
    labels[point] = own_class
    object_logits = np.full(scores.shape, np.nan)
    object_logits[point] = class_logits[np.arange(len(point)), own_class]
    return PointsOfImage(image_id, scores, classes, labels, object_logits)


@dataclass(frozen=True)
class AnnotatedPhotograph:
    """The objects of one photograph, as COCO's annotators drew them."""

    image_id: int
    height: int
    width: int
    boxes: Array
    """[M, 4], x1, y1, x2, y2 in pixels, without crowds."""
    labels: Array
    """[M], 0..79 in the order of COCO's category ids."""


@cache
def annotated_photograph(number: int) -> AnnotatedPhotograph:
    """One of 203 images; the numbers wrap around."""
    document = json.loads(_ANNOTATIONS.read_text(encoding="utf-8"))
    image = document["images"][number % len(document["images"])]
    place = {category: label for label, category in enumerate(sorted(c["id"] for c in document["categories"]))}
    own = [a for a in document["annotations"] if a["image_id"] == image["id"] and not a["iscrowd"]]
    boxes = np.array([annotation["bbox"] for annotation in own]).reshape(-1, 4)
    boxes[:, 2:] += boxes[:, :2]
    labels = np.array([place[annotation["category_id"]] for annotation in own], dtype=np.int64)
    return AnnotatedPhotograph(image["id"], image["height"], image["width"], boxes, labels)


@cache
def coco_class_counts() -> Array:
    """Objects of each of the 80 classes in COCO's train2017, without crowds."""
    return np.array(json.loads(_COUNTS.read_text(encoding="utf-8"))["coco_train2017"]["instances"])


@cache
def lvis_class_counts() -> tuple[Array, Array]:
    """Images and objects of each of the 1,203 classes in LVIS v1's training set."""
    counts = json.loads(_COUNTS.read_text(encoding="utf-8"))["lvis_v1_train"]
    return np.array(counts["images"]), np.array(counts["instances"])


def _iou_and_giou(one: Array, other: Array) -> tuple[Array, Array]:
    """Of boxes row by row."""
    shared = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    intersection = np.maximum(shared, 0.0).prod(axis=1)
    union = (one[:, 2:] - one[:, :2]).prod(axis=1) + (other[:, 2:] - other[:, :2]).prod(axis=1) - intersection
    hull = (np.maximum(one[:, 2:], other[:, 2:]) - np.minimum(one[:, :2], other[:, :2])).prod(axis=1)
    return intersection / union, intersection / union - (hull - union) / hull
