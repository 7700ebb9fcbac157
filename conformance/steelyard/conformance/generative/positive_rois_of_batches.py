"""Contract of the positive RoI generator, whole: boxes of the objects of a batch, with the IoUs that are asked for.

Oksuz, Cam, Akbas, Kalkan, "Generating Positive Bounding Boxes for Balanced Training of Object Detectors", WACV 2020
(arXiv 1909.09777), algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import Bench, bad_option, bad_shape, purity, refuses, value
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Mutant,
    Option,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw, SeededDraw
from steelyard.conformance.generative.box_generator import PAPER, clear_of_the_border
from steelyard.conformance.generative.positive_rois import CODE
from steelyard.conformance.precision import round_to
from steelyard.reference.detection.box_overlaps import aligned_iou
from steelyard.reference.generative import positive_rois as oracle

_FULL = ("float32", "float64")
_CLASSES = 3
_TRIES = 6
_EDGES, _WEIGHTS = np.array([0.5, 0.625, 0.75, 0.875, 1.0]), np.array([3.0, 2.0, 0.0, 3.0])
Function = Callable[..., Any]

# --- inputs ---------------------------------------------------------------------------------------------------


def images(draw: Draw) -> Case:
    """One or two images of up to five objects: some stick out, some are degenerate, some are not foreground."""
    return _case(draw, objects=draw.integer(1, 5), rois=draw.choice((4, 7, 1)))


def equal_slot_keys(draw: Draw) -> Case:
    """Slots with keys of two values."""
    case = images(draw)
    return case.with_arguments(slot_keys=draw.integers(case.arguments["slot_keys"].shape, 0, 1) / 2.0)


def crowds(seed: int) -> Case:
    """Objects with 64 slots, of which a third are kept, and keys of four values: an unstable sort of so many shows."""
    case = _case(SeededDraw(seed, ("float32",)), objects=64, rois=24)
    random = np.random.default_rng(seed)
    labels = random.integers(0, _CLASSES, case.arguments["gt_labels"].shape)
    keys = random.integers(0, 4, case.arguments["slot_keys"].shape) / 4.0
    return replace(case.with_arguments(gt_labels=labels, slot_keys=keys), origin=f"scene {seed}")


def no_object(draw: Draw) -> Case:
    """No object, or none that is foreground."""
    case = _case(draw, objects=draw.choice((0, 2)), rois=3)
    return case.with_arguments(gt_labels=np.full(case.arguments["gt_labels"].shape, draw.choice((-1, _CLASSES))))


def no_roi(draw: Draw) -> Case:
    """No box is asked for."""
    return _case(draw, objects=2, rois=0)


def _case(draw: Draw, *, objects: int, rois: int) -> Case:
    dtype, number = draw.dtype(_FULL), draw.integer(1, 2)
    random = np.random.default_rng((draw.digit(), draw.digit()))
    corner = random.integers(-20, 60, (number, objects, 2)) / 2.0
    gt = np.concatenate([corner, corner + random.integers(22, 80, corner.shape) / 2.0], axis=-1)
    thin = draw.array((number, objects), lambda: draw.choice((0, 0, 0, 1))) > 0
    gt[..., 2] = np.where(thin, gt[..., 0], gt[..., 2])
    labels = draw.array((number, objects), lambda: float(draw.choice((0, 0, 1, 2, _CLASSES, -1)))).astype(np.int64)
    size = random.integers(62, 80, (number, 2)) / 2.0
    slots = round_to(dtype, random.permuted(np.tile(np.arange(rois + objects) / 16.0, (number, 1)), axis=1))
    bin_keys = (random.integers(0, 64, (number, rois)) + 0.5) / 64.0
    positions = (random.integers(0, 64, (number, rois)) + 0.5) / 64.0
    coins = random.choice((0.25, 0.75), (number, rois))
    first, second = round_to(dtype, random.integers(1, 999, (2, number, rois, _TRIES, 2)) / 1000.0)
    allocation, highest = draw.choice(oracle.ALLOCATIONS), draw.choice((0.95, 0.8125))
    asked = oracle.requested_ious(_EDGES, _WEIGHTS, bin_keys, positions, allocation=allocation, highest=highest)
    for place in np.ndindex(asked.shape):
        first[place], second[place] = clear_of_the_border(float(asked[place]), first[place], second[place])
    arguments = {
        "gt_boxes": gt, "gt_labels": labels, "image_size": size, "bin_edges": _EDGES, "weights": _WEIGHTS,
        "slot_keys": np.minimum(slots, 0.99609375), "bin_keys": bin_keys, "position_keys": positions,
        "coin_keys": coins, "first_keys": first, "second_keys": second,
    }  # fmt: skip
    return Case(arguments, {"num_classes": _CLASSES, "allocation": allocation, "highest": highest}, dtype)


def _degenerate_before_another(case: Case) -> bool:
    gt, labels = case.arguments["gt_boxes"], case.arguments["gt_labels"]
    thin = gt[..., 2] <= gt[..., 0]
    good = ~thin & (labels >= 0) & (labels < _CLASSES)
    return bool((thin[:, :-1] & good[:, 1:]).any())


def ious_are_reached(bench: Bench, case: Case) -> None:
    """Every box lies in the image and has the IoU asked for with the part of its object that does."""
    boxes, _, asked, number, _ = bench.evaluate(case).outputs
    for b, (height, width) in enumerate(case.arguments["image_size"]):
        limit = np.array([width, height, width, height])
        objects = case.arguments["gt_labels"].shape[1]
        found = number[b] >= 0
        bench.expect(bool((number[b] < objects).all()), f"image {b}: a box of an object that does not exist", case)
        bench.expect(bool(((boxes[b] >= 0.0) & (boxes[b] <= limit)).all()), f"image {b}: a box leaves the image", case)
        own = np.clip(case.arguments["gt_boxes"][b][number[b][found].astype(np.int64)], 0.0, limit)
        lack = asked[b][found] - aligned_iou(np.asarray(boxes[b][found], dtype=np.float64), own)
        bench.expect(bool((lack <= 2e-5).all()), f"image {b}: a box has a lower IoU than asked for", case)


# --- mutants --------------------------------------------------------------------------------------------------

_RIGHT = oracle.generate_positive_rois


def _changed(change: Callable[[list[Array], dict[str, Any]], None]) -> Function:
    """The right outputs, changed in place: boxes, ious, asked, numbers, labels; and the inputs."""

    def mutant(**inputs: Any) -> Any:  # noqa: ANN401
        outputs = [np.array(output) for output in _RIGHT(**inputs)]
        change(outputs, inputs)
        return tuple(outputs)

    return mutant


def _filtered_numbers(outputs: list[Array], inputs: dict[str, Any]) -> None:
    gt = np.asarray(inputs["gt_boxes"])
    dropped = (gt[..., 2:] - gt[..., :2]).min(axis=-1, initial=np.inf) <= 0.0
    for b in range(len(gt)):
        before = np.append(0, np.cumsum(dropped[b : b + 1]))
        outputs[3][b] -= before[np.maximum(outputs[3][b], 0)]


def _shifted_numbers(outputs: list[Array], inputs: dict[str, Any]) -> None:
    outputs[3] += np.where(outputs[3] >= 0, np.shape(inputs["gt_labels"])[1], 0)


def _without_clipping(**inputs: Any) -> Any:  # noqa: ANN401
    far = np.full(np.shape(inputs["image_size"]), 1e6)
    return _RIGHT(**{**inputs, "image_size": far})


def _asked_for_measured(outputs: list[Array], _: dict[str, Any]) -> None:
    outputs[1] = outputs[2].copy()


def _zero_for_nobody(outputs: list[Array], _: dict[str, Any]) -> None:
    outputs[3] = np.maximum(outputs[3], 0)


def _width_first(**inputs: Any) -> Any:  # noqa: ANN401
    return _RIGHT(**{**inputs, "image_size": np.asarray(inputs["image_size"])[:, ::-1]})


def _first_slots(**inputs: Any) -> Any:  # noqa: ANN401
    keys = np.asarray(inputs["slot_keys"])
    return _RIGHT(**{**inputs, "slot_keys": np.zeros(keys.shape)})


def _last_of_equal(**inputs: Any) -> Any:  # noqa: ANN401
    keys = np.asarray(inputs["slot_keys"], dtype=np.float64)
    return _RIGHT(**{**inputs, "slot_keys": keys + 2.0**-40 * np.arange(keys.shape[1])[::-1]})


MUTANTS = (
    Mutant("positive-rois/filtered-numbers", "objects counted in the list without degenerate ones",
           _changed(_filtered_numbers), seen_in="the authors' pRoI generator"),
    Mutant("positive-rois/shifted-numbers", "numbers as if the objects stood before the boxes",
           _changed(_shifted_numbers), seen_in="the authors' pRoI generator with add_gt_as_proposals"),
    Mutant("positive-rois/no-clipping", "the right and the lower border of the image ignored", _without_clipping),
    Mutant("positive-rois/not-measured", "the IoU that was asked for in place of that of the box",
           _changed(_asked_for_measured)),
    Mutant("positive-rois/width-first", "width and height of the image exchanged", _width_first),
    Mutant("positive-rois/first-slots", "the first slots kept, without chance", _first_slots),
    Mutant("positive-rois/last-of-equal", "of equal slot keys the last; else the same", _last_of_equal),
    Mutant("positive-rois/zero-for-nobody", "object 0 where there is none; else the same", _changed(_zero_for_nobody)),
    Mutant("positive-rois/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "bin_keys")),
    Mutant("positive-rois/broadcast", "labels repeated for another number of images", mistakes.broadcasting(
        _RIGHT, "gt_labels", "gt_boxes")),
    Mutant("positive-rois/unchecked", "any allocation taken for a random one", mistakes.unchecked(
        _RIGHT, allocation=lambda name: name if name in oracle.ALLOCATIONS else "random")),
    Mutant("positive-rois/raises-on-empty", "an error where no box is asked for", mistakes.failing_on_empty(
        _RIGHT, "coin_keys")),
)  # fmt: skip

# --- contract -------------------------------------------------------------------------------------------------


def _key(name: str, *shape: str) -> Argument:
    return Argument(name, shape, "float", "independent uniform random numbers in [0, 1)", is_key=True,
                    domain=lambda moved, _: np.minimum(moved, 1.0 - 2.0**-53))  # fmt: skip


GENERATE_POSITIVE_ROIS = Technique(
    id="generate_positive_rois",
    title="Positive RoI generator (pRoI)",
    family="generative",
    summary="Boxes around the objects of each image, balanced over classes, with IoUs as they are asked for.",
    sources=(PAPER, CODE),
    oracle=_RIGHT,
    arguments=(
        Argument("gt_boxes", ("B", "M", "4"), "float", "x1, y1, x2, y2"),
        Argument("gt_labels", ("B", "M"), "int", "0..C-1 foreground, C background, -1 ignore"),
        Argument("image_size", ("B", "2"), "float", "height and width"),
        Argument("bin_edges", ("J + 1",), "float", "increasing, in (0, 1]",
                 domain=lambda moved, _: np.minimum(moved, 1.0)),
        Argument("weights", ("J",), "float", "of the bins, >= 0, not all 0"),
        _key("slot_keys", "B", "n + M"), _key("bin_keys", "B", "n"), _key("position_keys", "B", "n"),
        _key("coin_keys", "B", "n"), _key("first_keys", "B", "n", "R", "2"), _key("second_keys", "B", "n", "R", "2"),
    ),
    options=(
        Option("num_classes", 80, "C"),
        Option("allocation", "random", f"one of {', '.join(oracle.ALLOCATIONS)}"),
        Option("highest", 0.95, "highest IoU that is asked for"),
    ),
    outputs=(
        Output("boxes", ("B", "n", "4"), "float", "the boxes, in the image"),
        Output("ious", ("B", "n"), "float", "their IoU with their objects, in the image"),
        Output("asked", ("B", "n"), "float", "the IoU that was asked for"),
        Output("numbers", ("B", "n"), "int", "of their objects, -1 without any"),
        Output("labels", ("B", "n"), "int", "of their objects, -1 without any"),
    ),
    requirements=(
        Requirement("ROI-1", Level.MUST, Kind.VALUE, "Slots by class and object, of which the keys keep n; a box each.",
                    "algorithm 2; explicit keys are ours", value, images, dtypes=_FULL, needs_keys=True, examples=0.5,
                    reaches={"a degenerate object before another": _degenerate_before_another},
                    no_mutant="a wrong box is wrong among equal slot keys too, as ROI-8 sees"),
        Requirement("ROI-2", Level.MUST, Kind.BOUND, "Boxes lie in the image and have the IoU asked for.",
                    "ruling clipping", ious_are_reached, images, dtypes=_FULL, examples=0.3,
                    no_mutant="a box elsewhere is a wrong value too; names the law"),
        Requirement("ROI-3", Level.MUST, Kind.EMPTY, "Without an object there are no boxes, and numbers of -1.",
                    "ruling no-object", value, no_object, dtypes=_FULL, needs_keys=True, examples=0.1,
                    no_mutant="no object counts now and then in ROI-1; here none ever does"),
        Requirement("ROI-4", Level.MUST, Kind.EMPTY, "No box is made where none is asked for.", "house rule", value,
                    no_roi, dtypes=_FULL, needs_keys=True, examples=0.05),
        Requirement("ROI-5", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal keys agree.",
                    "house rule", purity, images, dtypes=_FULL, needs_keys=True, examples=0.1),
        Requirement("ROI-6", Level.SHOULD, Kind.ERROR, "Labels of another number of images are refused.",
                    "house rule", refuses(bad_shape("gt_labels")), images, dtypes=_FULL, needs_keys=True,
                    examples=0.05),
        Requirement("ROI-7", Level.MAY, Kind.ERROR, "An unknown allocation is refused.", "house rule",
                    refuses(bad_option("allocation", "all")), images, dtypes=_FULL, examples=0.05),
        Requirement("ROI-8", Level.SHOULD, Kind.TIES, "Of equal slot keys the first slot's.", "ruling slots", value,
                    equal_slot_keys, scenes=(crowds,), dtypes=_FULL, needs_keys=True, examples=0.1),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("clipping", "Objects are clipped to the image before, boxes after; the IoU is that of both clipped."),
        Ruling("degenerate", "An object without area in the image has no box, and the others keep their numbers."),
        Ruling("no-object", "An image without an object has boxes and IoUs of 0, and numbers and labels of -1."),
        Ruling("slots", "Slots stand object by object; of equal keys the first slot's is the smaller."),
        Ruling("label", "The label is that of the object, whatever else the box overlaps."),
    ),
    not_applicable={
        Kind.GRADIENT: "boxes are data", Kind.DETACHED: "boxes are data", Kind.REDUCES_TO: "nothing simpler",
        Kind.LIMIT: "no limit", Kind.CONSERVATION: "ROI-1: always n boxes", Kind.EXTREME: "plain boxes of pixels",
        Kind.INVARIANCE: "slots follow the order of the objects",
        Kind.DISTRIBUTION: "that of its parts, generate_boxes and requested_ious",
        Kind.BATCH: "ROI-1 has batches of two images",
    },
)  # fmt: skip
