"""Contracts of the census of RetinaNet's anchors: the size at which an image enters, and the count of its anchors.

Oksuz et al., "Imbalance Problems in Object Detection: A Review", TPAMI 2021 (arXiv 1909.00169), section 4, the figure;
Lin et al., ICCV 2017 (arXiv 1708.02002); Lin et al., "Feature Pyramid Networks", CVPR 2017, section 5.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
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
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
    as_outputs,
)
from steelyard.conformance.detection.census import COUNT_LABELS, REVIEW
from steelyard.conformance.generation import Draw
from steelyard.conformance.real_data import annotated_photograph
from steelyard.conformance.soft_sampling.focal_inputs import FULL, option
from steelyard.reference.detection import anchor_census as oracle
from steelyard.reference.detection.anchor_designs import retinanet_anchors
from steelyard.reference.detection.assignment import max_iou_assignment
from steelyard.reference.detection.box_overlaps import pairwise_iou
from steelyard.reference.detection.census import count_labels
from steelyard.reference.detection.census_details import foreground_by_object

_FPN = 'Lin et al., "Feature Pyramid Networks", CVPR 2017, section 5'
_IMPLIED = "implied by {}-1; kept because a failure then names the law that is broken"
_ANY = ("float32",)
_PHOTOGRAPHS = 7  # the first ones: no IoU of theirs is within 3e-5 of 0.4 or 0.5
_NEAR = 2e-5  # what float32 anchors of 32 pixels, a thousand pixels from the origin, may cost an IoU
_FAR = 1e-4  # by which one IoU is above another in any precision
Function = Callable[..., Any]

# --- size: inputs ---------------------------------------------------------------------------------------------


def _image(height: int, width: int, short: int, long: int) -> dict[str, OptionValue]:
    return {"height": height, "width": width, "short_side": short, "long_side": long}


def photographs(draw: Draw) -> Case:
    """Sizes of photographs, upright or lying; both limits."""
    height, width = draw.choice(((480, 640), (427, 640), (640, 480), (333, 500), (375, 500), (612, 612), (1, 1),
                                 (300, 900), (2000, 1500), (3000, 7), (64, 1024)))  # fmt: skip
    return Case({}, _image(height, width, *draw.choice(((800, 1333), (600, 1000), (32, 64)))), draw.dtype(_ANY))


def halves(draw: Draw) -> Case:
    """A scale of 5/2, 5/4 or 1/2, by which a side becomes a whole number and a half."""
    height, width = draw.choice(((320, 321), (320, 323), (640, 642), (642, 640), (1600, 1601), (1603, 1600)))
    return Case({}, _image(height, width, 800, 1333), draw.dtype(_ANY))


def both_sides_fit(bench: Bench, case: Case) -> None:
    """Within half a pixel, neither side is longer than its limit, and one of them has reached it."""
    height, width = (int(side) for side in bench.evaluate(case).outputs)
    short, long = option(case, "short_side"), option(case, "long_side")
    fits = min(height, width) <= short and max(height, width) <= long
    bench.expect(fits, f"{height} x {width} does not fit into {short:g} x {long:g}", case)
    reached = min(height, width) == short or max(height, width) == long
    bench.expect(reached, f"{height} x {width} reaches neither {short:g} nor {long:g}", case)


def turned(case: Case) -> Case:
    """Height and width exchanged."""
    return case.with_options(height=case.options["width"], width=case.options["height"])


def _sizes_turn(bench: Bench, case: Case) -> None:
    one, other = bench.evaluate(case).outputs, bench.evaluate(turned(case)).outputs
    bench.expect(int(one[0]) == int(other[1]) and int(one[1]) == int(other[0]), "a turned image of another size", case)


_SIZE = oracle.resized_image_size


def _size(change: Callable[[float, float, float, float], tuple[float, float]]) -> Function:
    def mutant(*, height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
        _SIZE(height=height, width=width, short_side=short_side, long_side=long_side)
        one, other = change(height, width, short_side, long_side)
        return int(one), int(other)

    return mutant


def _scale(h: float, w: float, s: float, long: float) -> float:
    return min(s / min(h, w), long / max(h, w))


def _at_least_one(*, height: int, width: int, short_side: int, long_side: int) -> tuple[int, int]:
    return _SIZE(height=max(height, 1), width=max(width, 1), short_side=short_side, long_side=long_side)


RESIZED_IMAGE_SIZE = Technique(
    id="resized_image_size",
    title="Size at which an image enters",
    family="detection",
    summary="Height and width after scaling the short side to its aim, within the limit of the long side.",
    sources=(_FPN,),
    oracle=_SIZE,
    arguments=(),
    options=(
        Option("height", 480, "of the image"), Option("width", 640, "of the image"),
        Option("short_side", 800, "aim for the shorter side"), Option("long_side", 1333, "limit of the longer one"),
    ),
    outputs=(Output("height", (), "int", "in pixels"), Output("width", (), "int", "in pixels")),
    requirements=(
        Requirement("SIZE-1", Level.MUST, Kind.VALUE, "Both sides by one scale, to the nearest pixel.", _FPN, value,
                    photographs, dtypes=_ANY, no_mutant="SIZE-3 says the same of its limits"),
        Requirement("SIZE-2", Level.MUST, Kind.TIES, "A half is rounded up.", "ruling half", value, halves, dtypes=_ANY,
                    examples=0.3, no_mutant="some sides of SIZE-1 end in a half too"),
        Requirement("SIZE-3", Level.MUST, Kind.BOUND, "Neither side passes its limit, and one reaches it.", _FPN,
                    both_sides_fit, photographs, dtypes=_ANY, examples=0.3, no_mutant=_IMPLIED.format("SIZE")),
        Requirement("SIZE-4", Level.MUST, Kind.INVARIANCE, "A turned image has the turned size.", _FPN, _sizes_turn,
                    photographs, dtypes=_ANY, examples=0.3, no_mutant=_IMPLIED.format("SIZE")),
        Requirement("SIZE-5", Level.SHOULD, Kind.ERROR, "An image without a side is refused.", "house rule",
                    refuses(bad_option("height", 0)), photographs, dtypes=_ANY, examples=0.1),
    ),
    mutants=(
        Mutant("image-size/rounded-down", "sides cut to whole pixels", _size(
            lambda h, w, s, m: (h * _scale(h, w, s, m) + 1e-9, w * _scale(h, w, s, m) + 1e-9)),
            seen_in="torchvision's GeneralizedRCNNTransform"),
        Mutant("image-size/half-to-even", "halves rounded to even", _size(
            lambda h, w, s, m: (round(h * _scale(h, w, s, m)), round(w * _scale(h, w, s, m)))), seen_in="round()"),
        Mutant("image-size/no-limit", "no limit of the long side", _size(
            lambda h, w, s, _: (h * s / min(h, w) + 0.5, w * s / min(h, w) + 0.5))),
        Mutant("image-size/height-to-short", "the height taken for the short side", _size(
            lambda h, w, s, m: (h * min(s / h, m / w) + 0.5, w * min(s / h, m / w) + 0.5))),
        Mutant("image-size/not-enlarged", "small images left as they are", _size(
            lambda h, w, s, m: (h * min(1, _scale(h, w, s, m)) + 0.5, w * min(1, _scale(h, w, s, m)) + 0.5))),
        Mutant("image-size/turned", "width before height", lambda **k: _SIZE(**k)[::-1]),
        Mutant("image-size/unchecked", "an image without a side taken for one pixel", _at_least_one),
    ),
    rulings=(Ruling("half", "A half is rounded up, as in detectron2 and mmdet."),),
    not_applicable={
        Kind.GRADIENT: "whole numbers", Kind.DETACHED: "whole numbers", Kind.REDUCES_TO: "no simpler technique",
        Kind.LIMIT: "SIZE-3 has both limits", Kind.CONSERVATION: "rounding does not keep the ratio",
        Kind.EMPTY: "SIZE-5 refuses an image without a side", Kind.EXTREME: "whole numbers", Kind.BATCH: "one image",
        Kind.DISTRIBUTION: "not random", Kind.PURITY: "no array comes in",
    },
)  # fmt: skip

# --- anchors: inputs ------------------------------------------------------------------------------------------


@cache
def _anchors_of_the_strip() -> Array:
    return retinanet_anchors(height=33, width=1333).boxes


def _overlaps(boxes: Array) -> Array:
    """With the anchors of the strip."""
    return np.asarray(pairwise_iou(boxes * np.tile([1333 / 960, 33 / 24], 2), _anchors_of_the_strip()))


def _clear_of(thresholds: tuple[float, ...], boxes: Array) -> Array:
    """The boxes, moved by quarters of a pixel until no anchor's IoU is within rounding of a threshold."""
    while True:
        overlaps = _overlaps(boxes)
        near = [(np.abs(overlaps - threshold) < _NEAR).any() for threshold in thresholds]
        if not any(near):
            return boxes
        boxes = boxes + np.array([0.25, 0.0, 0.25, 0.0])


def _strip(draw: Draw, boxes: Array, labels: Array, **options: OptionValue) -> Case:
    """An image of 24 x 960 pixels, which enters at 33 x 1333: some 17,000 anchors."""
    drawn: dict[str, OptionValue] = {
        "height": 24, "width": 960, "num_classes": 3, "foreground_iou": draw.choice((0.5, 0.7)),
        "background_iou": draw.choice((0.4, 0.3)), "low_quality": None, "universe": draw.choice(("all", "inside")),
    }  # fmt: skip
    return Case({"gt_boxes": boxes, "gt_labels": labels}, {**drawn, **options}, draw.dtype(FULL))


def objects(draw: Draw) -> Case:
    """Up to four objects, some of them padding. No IoU is within rounding of a threshold."""
    number = draw.integer(1, 4)
    corner = np.stack([draw.array((number,), lambda: 9.0 * draw.digit() + 0.375),
                       draw.array((number,), lambda: 0.125 + draw.integer(0, 3))], axis=1)  # fmt: skip
    sides = np.stack([draw.array((number,), lambda: draw.choice((23.375, 17.625, 40.125, 6.125, 70.625))),
                      draw.array((number,), lambda: draw.choice((20.625, 18.125, 5.375)))], axis=1)  # fmt: skip
    labels = draw.array((number,), lambda: float(draw.choice((0, 1, 2, -1)))).astype(np.int64)
    boxes = np.concatenate([corner, corner + sides], axis=1)
    return _strip(draw, _clear_of((0.3, 0.4, 0.5, 0.7), boxes), labels)


def poorly_overlapped(draw: Draw) -> Case:
    """Up to two objects, of which no anchor overlaps any enough, and one anchor alone overlaps each most."""
    number = draw.integer(1, 2)
    corner = np.stack([draw.array((number,), lambda: 9.0 * draw.digit() + 1.375), np.full(number, 2.25)], axis=1)
    side = draw.array((number, 2), lambda: draw.choice((17.625, 20.625, 14.375)))
    boxes = np.concatenate([corner, corner + side], axis=1)
    second, best = np.partition(_overlaps(boxes), (-2, -1), axis=1)[:, -2:].T
    clear = (best - second > _FAR) & (best < 0.9 - _FAR)
    return _strip(draw, boxes, np.where(clear, 1, -1), foreground_iou=0.95, background_iou=0.9, low_quality="keep",
                  universe="all")  # fmt: skip


def no_object(draw: Draw) -> Case:
    """No row, or rows of padding: every anchor is background."""
    number = draw.choice((0, 2))
    boxes = np.tile([100.0, 2.0, 130.0, 20.0], (number, 1))
    return _strip(draw, boxes, np.full(number, -1))


def photograph(seed: int) -> Case:
    """All anchors of a photograph, with the boxes of COCO's annotators."""
    found = annotated_photograph(seed % _PHOTOGRAPHS)
    boxes = found.boxes.astype(np.float32).astype(np.float64)
    options: dict[str, OptionValue] = {"height": found.height, "width": found.width, "num_classes": 80,
                                       "foreground_iou": 0.5, "background_iou": 0.4, "low_quality": None,
                                       "universe": "all"}  # fmt: skip
    arguments = {"gt_boxes": boxes, "gt_labels": found.labels}
    return Case(arguments, options, "float32", origin=f"photograph {found.image_id}")


def _enough_foreground(case: Case) -> bool:
    return oracle.retinanet_anchor_census(**case.arguments, **case.options).census.foreground > 0  # type: ignore[arg-type]


def all_anchors(bench: Bench, case: Case) -> None:
    """Every anchor is counted once, and every foreground one belongs to an object."""
    outputs = bench.evaluate(case.with_options(universe="all")).outputs
    by_name = dict(zip((o.name for o in bench.technique.outputs), outputs, strict=True))
    size = _SIZE(height=int(option(case, "height")), width=int(option(case, "width")))
    number = len(retinanet_anchors(height=size[0], width=size[1]).boxes)
    counted = sum(int(by_name[name]) for name in ("background", "ignored", "foreground"))
    bench.expect(counted == number, f"{counted} anchors counted, expected {number}", case)
    own, foreground = int(by_name["foreground_by_object"].sum()), int(by_name["foreground"])
    bench.expect(own == foreground, f"objects have {own} anchors, expected {foreground}", case)


def _reversed(case: Case) -> Case:
    return case.with_arguments(**{name: values[::-1].copy() for name, values in case.arguments.items()})


def _same_counts(bench: Bench, case: Case) -> None:
    one, other = bench.evaluate(case).outputs, bench.evaluate(_reversed(case)).outputs
    same = all(np.array_equal(a, b) for a, b in zip(one[:6], other[:6], strict=True))
    bench.expect(same, "other counts with the objects in reverse", case)


_CENSUS = oracle.retinanet_anchor_census


def _counted(
    *,
    anchors: Callable[[Array], Array] = lambda boxes: boxes,
    factors: Callable[[float, float], tuple[float, float]] = lambda x, y: (x, y),
    padding: bool = False,
    clipped: bool = False,
) -> Function:
    """The census with one thing wrong."""

    def function(
        *, gt_boxes: Array, gt_labels: Array, height: int, width: int, num_classes: int, universe: str,
        **rule: Any,  # noqa: ANN401
    ) -> tuple[Array, ...]:  # fmt: skip
        new_height, new_width = _SIZE(height=height, width=width)
        boxes, levels = retinanet_anchors(height=new_height, width=new_width)
        inside = (boxes >= 0).all(axis=1) & (boxes[:, 2:] <= (new_width, new_height)).all(axis=1)
        counted = inside if universe == "inside" else np.ones(len(boxes), dtype=bool)
        boxes = anchors(boxes)
        if clipped:
            boxes = np.clip(boxes, 0.0, np.tile([new_width, new_height], 2))
        scale = np.tile(factors(new_width / width, new_height / height), 2)
        labels = np.maximum(gt_labels, 0) if padding else gt_labels
        assigned = max_iou_assignment(
            boxes, np.asarray(gt_boxes, dtype=np.float64) * scale, labels, num_classes=num_classes,
            candidate_mask=counted, **rule,
        )  # fmt: skip
        census = count_labels(assigned.labels, num_classes=num_classes, levels=levels, num_levels=5, mask=counted)
        by_object = foreground_by_object(
            assigned.matched_gt, assigned.labels, num_objects=len(gt_boxes), num_classes=num_classes
        )
        return (*as_outputs(census), by_object)

    return function


def _with(**changed: Any) -> Function:  # noqa: ANN401
    return lambda **keywords: as_outputs(_CENSUS(**{**keywords, **changed}))


def _broadcast(*, gt_labels: Array, gt_boxes: Array, **keywords: Any) -> tuple[Array, ...]:  # noqa: ANN401
    return as_outputs(_CENSUS(gt_labels=gt_labels[: len(gt_boxes)], gt_boxes=gt_boxes, **keywords))


RETINANET_ANCHOR_CENSUS = Technique(
    id="retinanet_anchor_census",
    title="Census of RetinaNet's anchors",
    family="detection",
    summary="Background, ignored and foreground anchors that RetinaNet has for an annotated image.",
    sources=(REVIEW + ", the figure", "Lin et al., ICCV 2017, arXiv 1708.02002, section 4"),
    oracle=_CENSUS,
    arguments=(
        Argument("gt_boxes", ("M", "4"), "float", "objects, in pixels of the image as it is"),
        Argument("gt_labels", ("M",), "int", "their classes, -1 for padding"),
    ),
    options=(
        Option("height", 480, "of the image as it is"), Option("width", 640, "of the image as it is"),
        Option("num_classes", 80, "C"), Option("foreground_iou", 0.5, "from which on an anchor is foreground"),
        Option("background_iou", 0.4, "below which an anchor is background"),
        Option("low_quality", None, "whether each object's best anchors are foreground too, as in max_iou_assignment"),
        Option("universe", "all", "all anchors, or those inside the image"),
    ),
    outputs=(*COUNT_LABELS.outputs, Output("foreground_by_object", ("M",), "int", "foreground anchors of each object")),
    requirements=(
        Requirement("RAC-1", Level.MUST, Kind.VALUE, "All anchors of the resized image, by their best IoU.", REVIEW,
                    value, objects, scenes=(photograph,), dtypes=FULL, examples=0.12,
                    reaches={"foreground": _enough_foreground}),
        Requirement("RAC-2", Level.MUST, Kind.EMPTY, "Without objects every anchor is background.", "house rule", value,
                    no_object, dtypes=FULL, examples=0.05),
        Requirement("RAC-3", Level.MUST, Kind.CONSERVATION, "Every anchor once, every foreground one of an object.",
                    REVIEW, all_anchors, objects, options=("universe",), dtypes=FULL, examples=0.05,
                    no_mutant=_IMPLIED.format("RAC")),
        Requirement("RAC-4", Level.MUST, Kind.INVARIANCE, "The order of the objects means nothing.", REVIEW,
                    _same_counts, objects, dtypes=FULL, examples=0.05, no_mutant=_IMPLIED.format("RAC")),
        Requirement("RAC-5", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, objects, dtypes=FULL, examples=0.05),
        Requirement("RAC-6", Level.SHOULD, Kind.ERROR, "Classes of another number than the boxes are refused.",
                    "house rule", refuses(bad_shape("gt_labels")), objects, dtypes=FULL, examples=0.05),
        Requirement("RAC-7", Level.SHOULD, Kind.VALUE,
                    "With the low-quality rule the best anchor of an object is foreground, however little it overlaps.",
                    "Faster R-CNN, section 3.1.2 (i)", value, poorly_overlapped, options=("low_quality",), dtypes=FULL,
                    examples=0.05, reaches={"foreground": _enough_foreground}),
    ),
    mutants=(
        Mutant("anchor-census/not-resized", "boxes in pixels of the image as it is", _counted(
            factors=lambda *_: (1.0, 1.0))),
        Mutant("anchor-census/axes-exchanged", "x scaled as y", _counted(factors=lambda x, y: (y, x))),
        Mutant("anchor-census/clipped", "anchors cut to the image", _counted(clipped=True)),
        Mutant("anchor-census/moved", "anchors eight pixels further", _counted(anchors=lambda boxes: boxes + 8.0)),
        Mutant("anchor-census/plus-one", "anchors one pixel wider", _counted(
            anchors=lambda boxes: boxes + np.array([0.0, 0.0, 1.0, 1.0])), seen_in="py-faster-rcnn"),
        Mutant("anchor-census/padding-counted", "padding taken for objects of class 0", _counted(padding=True)),
        Mutant("anchor-census/all", "all anchors, also where those inside are asked for", _with(universe="all")),
        Mutant("anchor-census/inside", "anchors inside the image, also where all are asked for",
               _with(universe="inside"), seen_in="py-faster-rcnn"),
        Mutant("anchor-census/no-ignored", "background up to the foreground", lambda **k: as_outputs(
            _CENSUS(**{**k, "background_iou": k["foreground_iou"]}))),
        Mutant("anchor-census/low-quality", "each object's best anchors foreground too", _with(low_quality="keep"),
               seen_in="detectron2's and mmdet's defaults"),
        Mutant("anchor-census/no-low-quality", "the best anchors of an object as any others", _with(low_quality=None)),
        Mutant("anchor-census/in-place", "its boxes overwritten", mistakes.overwriting(_CENSUS, "gt_boxes")),
        Mutant("anchor-census/raises-on-empty", "an error without objects", mistakes.failing_on_empty(
            _CENSUS, "gt_boxes")),
        Mutant("anchor-census/cut-classes", "further classes left out", _broadcast),
    ),
    rulings=(
        Ruling("all", "All anchors of the padded feature maps are counted, also those that cross the border."),
        Ruling("low-quality", "The rule that makes each object's best anchors foreground is off, but where one anchor "
                              "is clearly the best: which have exactly the best IoU depends on the precision."),
    ),
    not_applicable={
        Kind.GRADIENT: "counts have no gradient", Kind.DETACHED: "counts have no gradient",
        Kind.REDUCES_TO: "its parts have contracts", Kind.LIMIT: "no limit", Kind.BOUND: "RAC-3 counts them all",
        Kind.TIES: "the thresholds are those of max_iou_assignment", Kind.EXTREME: "IoUs at a threshold are avoided",
        Kind.BATCH: "one image", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
