"""What a sampler of a two-stage detector gets: real proposals and the objects of a photograph, matched by IoU."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np

from steelyard.conformance.contract import Array
from steelyard.conformance.precision import round_to
from steelyard.conformance.real_data import proposals_of_image
from steelyard.reference.detection.box_overlaps import pairwise_iou

REAL_CLASSES = 80


@dataclass(frozen=True)
class Candidates:
    """The objects of a photograph, as proposals, and a detector's 256 best boxes: [N] each."""

    labels: Array
    """0..79 where the largest IoU is at least 0.5, else 80."""
    max_iou: Array
    classes: Array
    """Class of the object of that IoU; 0 where the photograph has none."""
    instances: Array
    """Number of that object where the candidate is positive, else -1."""
    scores: Array
    """Logit of the best class, a float16 number with ties; the largest of all for the objects themselves."""


@cache
def real_candidates(number: int) -> Candidates:
    """Of one of the 64 photographs; the numbers wrap around."""
    image = proposals_of_image(number)
    boxes = np.concatenate([image.gt_boxes, image.boxes])
    scores = np.concatenate([np.full(len(image.gt_boxes), image.scores.max(initial=0.0)), image.scores])
    if not len(image.gt_boxes):
        none = np.full(len(boxes), -1)
        return Candidates(np.full(len(boxes), REAL_CLASSES), np.zeros(len(boxes)), none + 1, none, scores)
    overlaps = pairwise_iou(boxes, image.gt_boxes).astype(np.float32).astype(np.float64)
    nearest, max_iou = overlaps.argmax(axis=1), overlaps.max(axis=1)
    classes, positive = image.gt_classes[nearest], max_iou >= 0.5
    return Candidates(
        np.where(positive, classes, REAL_CLASSES), max_iou, classes, np.where(positive, nearest, -1), scores
    )


def real_objectness(number: int) -> Array:
    """The candidates' best scores as probabilities, float16 numbers: several candidates share one."""
    return round_to("float16", 1.0 / (1.0 + np.exp(-real_candidates(number).scores)))


def keys_with_ties(seed: int, shape: tuple[int, ...]) -> Array:
    """Random multiples of 1/16: many are equal, also where the last ones are drawn."""
    return np.random.default_rng(seed).integers(0, 16, shape) / 16.0
