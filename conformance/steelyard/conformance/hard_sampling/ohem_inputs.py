"""Inputs that the contracts of online hard example mining share: RoIs in heaps, with losses that are apart."""

from __future__ import annotations

import numpy as np

from steelyard.conformance.contract import Argument, Array, Case, Dialect, Option, OptionValue, Ruling
from steelyard.conformance.generation import Draw
from steelyard.conformance.hard_sampling.mining_inputs import CLASSES, distinct_ranks, draw_labels
from steelyard.conformance.real_data import proposals_of_image
from steelyard.reference.detection.box_overlaps import pairwise_iou

PAPER = (
    'Shrivastava, Gupta & Girshick, "Training Region-based Object Detectors with Online Hard Example Mining", '
    "CVPR 2016, arXiv 1604.03540"
)

# three heaps; no IoU within 0.01 of 0.7, 0.45 or 0.85
_HEAPS = (
    (0, 0, 10, 10), (0, 0, 10, 9), (1, 0, 11, 10), (0, 0, 9, 10), (2, 0, 12, 10),
    (20, 20, 30, 30), (20, 20, 30, 28), (21, 20, 31, 28), (50, 50, 60, 60),
)  # fmt: skip
# no two with an IoU other than 0, 1/2, 3/4 and 1
_STEPS = ((0, 0, 8, 8), (0, 0, 8, 6), (20, 0, 28, 8), (20, 0, 28, 4), (40, 0, 48, 8))


def _options(draw: Draw) -> dict[str, OptionValue]:
    return {
        "num_classes": CLASSES,
        "num_samples": draw.choice((2, 3, 1, 5)),
        "iou_threshold": draw.choice((0.7, 0.45, 0.85)),
        "labels_apart": draw.choice((True, False)),
    }


def _losses(draw: Draw, labels: Array, total: Array) -> dict[str, Array]:
    """Sums of the two losses in exact fractions; large regression losses where they must not count."""
    share = draw.array(labels.shape, lambda: draw.choice((0.0, 0.5, 0.25, 1.0)))
    foreground = (labels >= 0) & (labels < CLASSES)
    regression = np.where(foreground, total * share, draw.array(labels.shape, lambda: draw.choice((0.0, 4.0, 1.5))))
    return {
        "classification_losses": np.where(foreground, total - regression, total),
        "regression_losses": regression,
    }


def _shape(draw: Draw) -> tuple[int, int]:
    return draw.integer(1, 2), draw.integer(1, 9)


def _case(draw: Draw, shape: tuple[int, int], heaps: tuple[tuple[int, ...], ...], total: Array) -> Case:
    boxes = np.array(heaps, dtype=np.float64)[draw.integers(shape, 0, len(heaps) - 1)]
    labels = draw_labels(draw, shape)
    return Case({"boxes": boxes, "labels": labels, **_losses(draw, labels, total)}, _options(draw), draw.dtype())


def rois(draw: Draw) -> Case:
    """Up to nine RoIs in heaps, no two losses of an image equal."""
    shape = _shape(draw)
    return _case(draw, shape, _HEAPS, (distinct_ranks(draw, shape) + 1.0) / 4.0)


def without_suppression(draw: Draw) -> Case:
    """The same, and all RoIs may stay."""
    return rois(draw).with_options(iou_threshold=None)


def equal_losses(draw: Draw) -> Case:
    """Few different losses."""
    shape = _shape(draw)
    return _case(draw, shape, _HEAPS, np.floor(distinct_ranks(draw, shape) / 3.0) + 1.0)


def on_the_threshold(draw: Draw) -> Case:
    """Pairs whose IoU is the threshold, in every format."""
    shape = _shape(draw)
    case = _case(draw, shape, _STEPS, (distinct_ranks(draw, shape) + 1.0) / 4.0)
    return case.with_options(iou_threshold=draw.choice((0.75, 0.5, 1.0, 0.0)))


def short_of_rois(draw: Draw) -> Case:
    """No RoI, only ignored ones, or fewer than asked for."""
    case = rois(draw).with_options(num_samples=20)
    if draw.flag():
        return case
    if draw.flag():
        return case.with_arguments(labels=np.full_like(case.arguments["labels"], -1))
    return case.with_arguments(**{name: values[:, :0] for name, values in case.arguments.items()})


def infinite_losses(draw: Draw) -> Case:
    """One infinite classification loss in each image, wherever it falls."""
    case = rois(draw)
    losses = case.arguments["classification_losses"].copy()
    losses[..., draw.integer(0, losses.shape[1] - 1)] = np.inf
    return case.with_arguments(classification_losses=losses)


def broken_losses_elsewhere(draw: Draw) -> Case:
    """NaN in all losses that do not count."""
    case = rois(draw)
    labels = case.arguments["labels"]
    return case.with_arguments(
        classification_losses=np.where(labels == -1, np.nan, case.arguments["classification_losses"]),
        regression_losses=np.where((labels == -1) | (labels == CLASSES), np.nan, case.arguments["regression_losses"]),
    )


def many_rois(seed: int) -> Case:
    """1,100 RoIs around 40 objects."""
    random = np.random.default_rng(seed)
    shape = (1, 1100)
    centre, size = random.integers(0, 600, (40, 2)), random.integers(20, 200, (40, 2))
    own = random.integers(0, 40, shape)
    corner = centre[own] + random.integers(-8, 9, (*shape, 2))
    boxes = np.concatenate([corner, corner + size[own] + random.integers(-8, 9, (*shape, 2))], axis=-1)
    labels = np.where(random.random(shape) < 0.25, own % CLASSES, CLASSES)
    total = (random.permuted(np.arange(shape[1]))[None] + 1.0) / 64.0
    arguments = {
        "boxes": boxes.astype(np.float64), "labels": labels,
        "classification_losses": total, "regression_losses": np.zeros(shape),
    }  # fmt: skip
    return Case(arguments, _published(), "float32", origin=f"scene {seed}")


def detector_proposals(seed: int) -> Case:
    """The 256 best boxes of a detector on a photograph; their float16 scores, of which many are equal, as losses."""
    image = proposals_of_image(seed)
    overlaps = pairwise_iou(image.gt_boxes, image.boxes)
    own = overlaps.argmax(axis=0) if len(overlaps) else np.zeros(len(image.boxes), dtype=np.int64)
    foreground = overlaps.max(axis=0, initial=0.0) >= 0.5
    labels = np.where(foreground, image.gt_classes[own] if len(overlaps) else 0, 80)
    arguments = {
        "boxes": image.boxes[None], "labels": labels[None],
        "classification_losses": image.scores[None], "regression_losses": np.zeros((1, len(labels))),
    }  # fmt: skip
    return Case(arguments, {**_published(), "num_classes": 80}, "float32", origin=f"image {image.image_id}")


def _published() -> dict[str, OptionValue]:
    return {"num_classes": CLASSES, "num_samples": 64, "iou_threshold": 0.7, "labels_apart": True}


def overlapping(case: Case) -> bool:
    """Whether RoIs that take part overlap by more than the threshold."""
    threshold = case.options["iou_threshold"]
    for image in range(len(case.arguments["labels"])):
        box = case.arguments["boxes"][image][case.arguments["labels"][image] != -1]
        if (np.triu(pairwise_iou(box, box), 1) > threshold).any():  # type: ignore[operator]
            return True
    return False


def _as_they_are(boxes: Array, case: Case) -> Array:
    """Boxes are not moved to find out how conditioned the loss is: overlaps decide who counts, and must not jump."""
    return case.arguments["boxes"]


ARGUMENTS = (
    Argument("boxes", ("...", "R", "4"), "float", "RoIs, x1, y1, x2, y2", domain=_as_they_are),
    Argument("labels", ("...", "R"), "int", "0..C-1 foreground, C background, -1 ignore"),
    Argument("classification_losses", ("...", "R"), "float", "of the current network", differentiable=True),
    Argument("regression_losses", ("...", "R"), "float", "of the current network; counts for the foreground",
             differentiable=True),
)  # fmt: skip
OPTIONS = (
    Option("num_classes", 80, "C"),
    Option("num_samples", 64, "RoIs of an image that are learnt from"),
    Option("iou_threshold", 0.7, "IoU above which the harder RoI suppresses the other; None: no suppression"),
    Option("labels_apart", True, "whether only RoIs of one label suppress each other"),
)
DIALECTS = (
    Dialect("whole_image", "all RoIs of an image suppress each other", {"labels_apart": False},
            departs_from_paper=False),
    Dialect("by_label", "only RoIs of one label suppress each other, as in the authors' code", {"labels_apart": True}),
)  # fmt: skip
RULINGS = (
    Ruling("both losses", "Classification and, for the foreground, regression; mmdet ranks by the former alone."),
    Ruling("no quota", "Positives and negatives compete; the variant with a quota is a technique of its own."),
    Ruling("per image", "The number holds for each image."),
    Ruling("strict", "Suppression needs an IoU strictly above the threshold."),
    Ruling("ties", "Of equal losses the first RoI's."),
    Ruling("too few", "Where fewer survive than are asked for, all are taken."),
)
