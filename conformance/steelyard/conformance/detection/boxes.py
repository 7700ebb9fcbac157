"""Contracts of single boxes and of what two share: area, intersection, the cut to the image.

Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), section 3; Everingham et al., "The Pascal Visual Object
Classes Challenge", IJCV 2010, equation 3.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import BadInput, Bench, permutation, purity, refuses, same_as, value
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Mutant,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.detection import box_overlaps_mutants as wrong
from steelyard.conformance.detection.box_inputs import (
    box_argument,
    broadcasting_sides,
    draw_boxes,
    is_degenerate,
    moved,
    random_boxes,
    without_last_coordinate,
)
from steelyard.conformance.detection.overlap_requirements import (
    NOT_APPLICABLE,
    PAIRS,
    RULINGS,
    exchanged,
    law_of_pairs,
    pair_requirements,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF
from steelyard.reference.detection import boxes as oracle

# --- inputs ---------------------------------------------------------------------------------------------------


def _boxes(draw: Draw, **kind: Any) -> Case:  # noqa: ANN401
    boxes = draw_boxes(draw, draw.integer(1, 5), **kind)
    return Case({"boxes": boxes}, {}, draw.dtype())


def with_area(draw: Draw) -> Case:
    """Boxes with an area."""
    case = _boxes(draw, scale=draw.choice((1.0, 0.5, 8.0)))
    return case.with_arguments(boxes=moved(case.arguments["boxes"], draw))


def degenerate(draw: Draw) -> Case:
    """Points and lines among the boxes."""
    return _boxes(draw, sides=(0, 0, 2, 4))


def inverted(draw: Draw) -> Case:
    """Boxes of one or two negative sides."""
    return _boxes(draw, sides=(-2, 1, -3, 4))


def large(draw: Draw) -> Case:
    """Boxes of a side of up to 512 pixels."""
    return _boxes(draw, scale=64.0)


def crowd(seed: int) -> Case:
    """Thousands of boxes."""
    return Case({"boxes": random_boxes(np.random.default_rng(seed), 5000)}, {}, "float32", origin=f"crowd {seed}")


def no_box(draw: Draw) -> Case:
    """No box."""
    return Case({"boxes": np.zeros((0, 4))}, {}, draw.dtype())


def _image(draw: Draw) -> Array:
    """Height and width, wider than high first: an exchange of the two shows."""
    return np.array(draw.choice(((8.0, 12.0), (12.0, 8.0), (10.0, 10.0), (1.0, 16.0), (0.0, 8.0))))


def in_image(draw: Draw) -> Case:
    """Boxes inside, across every border, on it and outside of the image."""
    case = with_area(draw)
    return case.with_arguments(boxes=case.arguments["boxes"] - 2.0, image_size=_image(draw))


def crowd_in_image(seed: int) -> Case:
    """Thousands of boxes, many of which cross the border."""
    return crowd(seed).with_arguments(image_size=np.array([333.0, 500.0]))


def no_box_in_image(draw: Draw) -> Case:
    """No box."""
    return no_box(draw).with_arguments(image_size=_image(draw))


def in_image_half(draw: Draw) -> Case:
    """Boxes in half precision."""
    return large(draw).with_arguments(image_size=np.array([480.0, 640.0]))


def _outside(case: Case) -> bool:
    height, width = case.arguments["image_size"]
    return bool((case.arguments["boxes"][:, :2] > [width, height]).any())


# --- laws -----------------------------------------------------------------------------------------------------


def _rolled(case: Case) -> Case:
    return case.with_arguments(boxes=case.arguments["boxes"][::-1].copy())


def stays_cut(bench: Bench, case: Case) -> None:
    """A box that lies in the image stays as it is, so cutting twice changes nothing."""
    cut = bench.oracle(case)[0]
    again = case.with_arguments(boxes=cut)
    bench.expect_close(again, bench.evaluate(again).outputs[0], cut, None, case.dtype, "boxes cut twice")


# --- mutants --------------------------------------------------------------------------------------------------

_AREA: Callable[..., Any] = oracle.box_area
_CLIP: Callable[..., Any] = oracle.clip_boxes
_INTERSECTION: Callable[..., Any] = oracle.pairwise_intersection


def _sides(boxes: Array) -> Array:
    _AREA(boxes)
    return np.asarray(boxes, dtype=np.float64)[:, 2:] - np.asarray(boxes, dtype=np.float64)[:, :2]


def half_area(boxes: Array) -> Array:
    _AREA(boxes)
    sides = np.maximum(boxes[:, 2:] - boxes[:, :2], 0)
    return np.asarray(sides.prod(axis=1), dtype=np.float32 if boxes.dtype == np.float16 else boxes.dtype)


def clip(**fault: Any) -> Callable[..., Array]:  # noqa: ANN401
    """The cut to the image with one thing changed."""

    def mutant(boxes: Array, image_size: Array) -> Array:
        right = _CLIP(boxes, image_size)
        height, width = np.asarray(image_size, dtype=np.float64)
        last = fault.get("last", 0.0)
        sides = (height, width) if fault.get("exchanged") else (width, height)
        high = np.array([*sides, *sides]) - last
        low = -np.inf if fault.get("upper_only") else 0.0
        cut = np.minimum(np.maximum(np.asarray(boxes, dtype=np.float64), low), high)
        if fault.get("own_sides"):  # upper left corners from below, lower right ones from above
            cut = np.concatenate([np.maximum(boxes[:, :2], 0.0), np.minimum(boxes[:, 2:], high[2:])], axis=1)
        if fault.get("dropped"):
            return np.asarray(cut[~is_degenerate(cut)])
        return cut if len(right) else np.asarray(right)

    return mutant


def rounded_in_half(boxes: Array, image_size: Array) -> Array:
    right = _CLIP(boxes, image_size)
    return np.asarray(right + 1.0 if boxes.dtype == np.float16 else right)


# --- contracts ------------------------------------------------------------------------------------------------

_VOC = "Everingham et al., IJCV 2010, equation 3"
_IMPLIED = "implied by {}; kept because a failure then names the law that is broken"
_THREE = refuses(BadInput("boxes of three numbers", without_last_coordinate("boxes")))
_NOT_HERE = {
    Kind.GRADIENT: "no technique of the specification differentiates it", Kind.DETACHED: "no gradient",
    Kind.REDUCES_TO: "nothing simpler to reduce to", Kind.LIMIT: "no limit",
    Kind.BATCH: "the boxes of one image; each stands for itself", Kind.DISTRIBUTION: "not random",
}  # fmt: skip

BOX_AREA = Technique(
    id="box_area",
    title="Area of boxes",
    family="detection",
    summary="Width times height, without a pixel more.",
    sources=("Ren et al., arXiv 1506.01497, section 3; " + _VOC,),
    oracle=_AREA,
    arguments=(box_argument("boxes", "N", "boxes"),),
    options=(),
    outputs=(Output("area", ("N",), "float", "square pixels"),),
    requirements=(
        Requirement("AREA-1", Level.MUST, Kind.VALUE, "The area is width times height.", _VOC, value, with_area,
                    scenes=(crowd,), dtypes=FULL),
        Requirement("AREA-2", Level.MUST, Kind.EMPTY, "A box without width or height has area 0.",
                    "ruling degenerate", value, degenerate, dtypes=FULL, examples=0.5),
        Requirement("AREA-3", Level.SHOULD, Kind.BOUND, "A negative side counts as 0: no area is negative.",
                    "ruling degenerate", value, inverted, dtypes=FULL, examples=0.5,
                    reaches={"two negative sides": lambda c: bool(
                        (c.arguments["boxes"][:, 2:] < c.arguments["boxes"][:, :2]).all(axis=1).any())}),
        Requirement("AREA-4", Level.MUST, Kind.EMPTY, "No boxes have no areas.", "house rule", value, no_box,
                    dtypes=FULL, examples=0.2),
        Requirement("AREA-5", Level.SHOULD, Kind.EXTREME, "Half-precision boxes have the area of float32.",
                    "house rule", value, large, dtypes=HALF, examples=0.5),
        Requirement("AREA-6", Level.MUST, Kind.INVARIANCE, "Reordering the boxes reorders the areas.", "house rule",
                    permutation, with_area, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("AREA-1")),
        Requirement("AREA-7", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls give equal "
                    "bits.", "house rule", purity, with_area, dtypes=FULL, examples=0.3),
        Requirement("AREA-8", Level.SHOULD, Kind.ERROR, "Boxes of three numbers are refused.", "house rule", _THREE,
                    with_area, dtypes=FULL, examples=0.2),
    ),
    mutants=(
        Mutant("area/plus-one", "one pixel more in width and height", lambda boxes:
               np.maximum(_sides(boxes) + 1.0, 0.0).prod(axis=1), seen_in="py-faster-rcnn, Detectron"),
        Mutant("area/negative-sides", "the product of negative sides", lambda boxes: _sides(boxes).prod(axis=1),
               seen_in="torchvision's box_area"),
        Mutant("area/lines-have-a-pixel", "points and lines one pixel wide", lambda boxes: np.maximum(
            _sides(boxes) + (_sides(boxes) == 0), 0.0).prod(axis=1)),
        Mutant("area/squared-width", "the width in place of the height", lambda boxes:
               np.maximum(_sides(boxes)[:, 0], 0.0) ** 2),
        Mutant("area/half-arithmetic", "its arithmetic in float16, where areas overflow", half_area),
        Mutant("area/lost-tail", "the last boxes of a large input left out", mistakes.losing_the_tail(_AREA)),
        Mutant("area/in-place", "its boxes overwritten", mistakes.overwriting(_AREA, "boxes")),
        Mutant("area/raises-on-empty", "an error where there is no box", mistakes.failing_on_empty(_AREA, "boxes")),
        Mutant("area/unchecked", "boxes of three numbers, the last of them both sides",
               mistakes.unchecked(_AREA, boxes=broadcasting_sides)),
    ),
    rulings=RULINGS,
    not_applicable=_NOT_HERE | {Kind.TIES: "no threshold but 0: AREA-2", Kind.CONSERVATION: "conserves nothing"},
)  # fmt: skip

PAIRWISE_INTERSECTION = Technique(
    id="pairwise_intersection",
    title="Intersection of boxes",
    family="detection",
    summary="Area that each box shares with each other box.",
    sources=(_VOC,),
    oracle=_INTERSECTION,
    arguments=(box_argument("boxes", "M", "first list"), box_argument("other_boxes", "N", "second list")),
    options=(),
    outputs=(Output("intersection", ("M", "N"), "float", "square pixels"),),
    requirements=pair_requirements(
        "BXI", PAIRS, ("The intersection is the product of the common width and height.", _VOC),
        of_points="A box without width or height shares nothing.",
        law=law_of_pairs(Kind.INVARIANCE, "Exchanging the lists transposes the answer.",
                         same_as(exchanged, "exchanged lists", lambda output, _: output.T)),
    ),
    mutants=(
        Mutant("intersection/at-least-one", "nothing smaller than 1e-6 taken for an overlap", lambda **k: np.where(
            (found := np.asarray(_INTERSECTION(**k))) < 1e-6, 0.0, found)),
        *wrong.common_mutants("intersection", _INTERSECTION, lambda parts: parts.shared),
    ),
    rulings=RULINGS,
    not_applicable=NOT_APPLICABLE | {Kind.BOUND: "no bound but 0 and the areas"},
)  # fmt: skip

CLIP_BOXES = Technique(
    id="clip_boxes",
    title="Boxes cut to the image",
    family="detection",
    summary="What of a proposal lies in the image.",
    sources=("Ren et al., arXiv 1506.01497, section 3.3",),
    oracle=_CLIP,
    arguments=(
        Argument("boxes", ("N", "4"), "float", "x1, y1, x2, y2 in pixels"),
        Argument("image_size", ("2",), "float", "height and width, >= 0", domain=lambda v, c: np.abs(v)),  # noqa: ARG005
    ),
    options=(),
    outputs=(Output("clipped", ("N", "4"), "float", "as many boxes, some of them without area"),),
    requirements=(
        Requirement("CLIP-1", Level.MUST, Kind.VALUE, "x is cut to [0, width], y to [0, height].", "section 3.3",
                    value, in_image, scenes=(crowd_in_image,), dtypes=FULL,
                    reaches={"a box outside": _outside}),
        Requirement("CLIP-2", Level.MUST, Kind.EMPTY, "No boxes give no boxes.", "house rule", value, no_box_in_image,
                    dtypes=FULL, examples=0.2),
        Requirement("CLIP-3", Level.MUST, Kind.CONSERVATION, "What lies in the image stays as it is, to the last bit.",
                    "section 3.3", stays_cut, in_image, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("CLIP-1")),
        Requirement("CLIP-4", Level.MUST, Kind.INVARIANCE, "Reordering the boxes reorders the answer.", "house rule",
                    same_as(_rolled, "boxes in the other order", lambda output, _: output[::-1]), in_image,
                    dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("CLIP-1")),
        Requirement("CLIP-5", Level.SHOULD, Kind.EXTREME, "Half-precision boxes are cut as in float32.", "house rule",
                    value, in_image_half, dtypes=HALF, examples=0.5),
        Requirement("CLIP-6", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls give equal "
                    "bits.", "house rule", purity, in_image, dtypes=FULL, examples=0.3),
        Requirement("CLIP-7", Level.SHOULD, Kind.ERROR, "Boxes of three numbers are refused.", "house rule", _THREE,
                    in_image, dtypes=FULL, examples=0.2),
    ),
    mutants=(
        Mutant("clip/last-pixel", "the last pixel in place of the border", clip(last=1.0),
               seen_in="py-faster-rcnn's and Detectron's clip_boxes"),
        Mutant("clip/exchanged", "width and height exchanged", clip(exchanged=True)),
        Mutant("clip/upper-only", "negative coordinates left", clip(upper_only=True)),
        Mutant("clip/own-sides", "each corner cut at one border only, so that a box outside stays outside",
               clip(own_sides=True)),
        Mutant("clip/dropped", "boxes without area left out", clip(dropped=True)),
        Mutant("clip/half-precision", "its arithmetic in float16", rounded_in_half),
        Mutant("clip/lost-tail", "the last boxes of a large input left out", mistakes.losing_the_tail(_CLIP)),
        Mutant("clip/in-place", "its boxes overwritten", mistakes.overwriting(_CLIP, "boxes"),
               seen_in="detectron2's Boxes.clip, which does so by design"),
        Mutant("clip/raises-on-empty", "an error where there is no box", mistakes.failing_on_empty(_CLIP, "boxes")),
        Mutant("clip/unchecked", "boxes of three numbers, the last of them both sides",
               mistakes.unchecked(_CLIP, boxes=broadcasting_sides)),
    ),
    rulings=(
        Ruling("stays-in-place", "A box outside of the image loses its area, not its place in the list."),
        Ruling("border", "The border lies at the width, not at the last pixel."),
    ),
    not_applicable=_NOT_HERE | {Kind.BOUND: "CLIP-1 is the bound", Kind.TIES: "continuous at the border"},
)  # fmt: skip
