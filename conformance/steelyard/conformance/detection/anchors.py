"""Contracts of anchors on a grid: those of a cell, their grid, the points of a grid, and which lie in the image.

Ren et al., "Faster R-CNN", NIPS 2015 (arXiv 1506.01497), sections 3.1.1 and 3.3; Tian et al., "FCOS", ICCV 2019 (arXiv
1904.01355), section 3.1.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steelyard.conformance.checking import BadInput, Bench, bad_option, plain, purity, refuses, same_as, value
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.detection.anchors_mutants import (
    CELL_MUTANTS,
    GRID_MUTANTS,
    INSIDE_MUTANTS,
    POINT_MUTANTS,
)
from steelyard.conformance.detection.box_inputs import draw_boxes, without_last_coordinate
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.reference.detection import anchors as oracle

_FLOAT32 = ("float32",)  # numbers in: the format in which detectors keep their anchors

_GRID: Callable[..., Array] = oracle.grid_anchors

# --- inputs ---------------------------------------------------------------------------------------------------


def cell(draw: Draw) -> Case:
    """One to three sizes and ratios, out of order."""
    dtype = draw.dtype()
    sizes = draw.array((draw.integer(1, 3),), lambda: draw.choice((32.0, 64.0, 128.0, 40.0, 1.0)))
    ratios = draw.array((draw.integer(1, 3),), lambda: draw.choice((0.5, 1.0, 2.0, 0.25, 3.0, 0.34)))
    return Case({"sizes": sizes, "ratios": round_to(dtype, ratios)}, {}, dtype)


def empty_cell(draw: Draw) -> Case:
    """No size, no ratio, or neither."""
    numbers = draw.choice(((0, 2), (2, 0), (0, 0)))
    return Case({"sizes": np.full(numbers[0], 32.0), "ratios": np.ones(numbers[1])}, {}, draw.dtype())


def _feature_map(draw: Draw, *, low: int = 1, high: int = 4) -> dict[str, OptionValue]:
    return {
        "feature_height": draw.integer(low, high), "feature_width": draw.integer(low, high),
        "stride": draw.choice((8.0, 16.0, 4.0, 32.0)), "offset": draw.choice((0.0, 0.5, 0.25, 1.0)),
    }  # fmt: skip


def grid(draw: Draw) -> Case:
    """Up to three anchors on up to four by four cells."""
    boxes = draw_boxes(draw, draw.integer(1, 3), scale=0.5) - 4.0
    return Case({"cell": boxes}, _feature_map(draw), draw.dtype())


def empty_grid(draw: Draw) -> Case:
    """No row, no column, or no anchor in a cell."""
    case = grid(draw)
    nothing = draw.choice(("feature_height", "feature_width", "cell"))
    if nothing == "cell":
        return case.with_arguments(cell=np.zeros((0, 4)))
    return case.with_options(**{nothing: 0})


def large_grid(seed: int) -> Case:
    """The nine anchors of a cell on forty by fifty cells."""
    boxes = round_to("float32", oracle.cell_anchors([32.0, 40.3, 50.8], [0.5, 1.0, 2.0]))
    options: dict[str, OptionValue] = {"feature_height": 40, "feature_width": 50, "stride": 8.0, "offset": 0.5}
    return Case({"cell": boxes}, options, "float32", origin=f"grid {seed}")


def points(draw: Draw) -> Case:
    """A small grid."""
    return Case({}, _feature_map(draw, high=5), draw.dtype(_FLOAT32))


def points_of_odd_strides(draw: Draw) -> Case:
    """Strides whose half is no whole number."""
    case = points(draw)
    return case.with_options(stride=draw.choice((5.0, 7.0, 2.5)), offset=0.5)


def no_points(draw: Draw) -> Case:
    """No row or no column."""
    return points(draw).with_options(**{draw.choice(("feature_height", "feature_width")): 0})


def around_the_border(draw: Draw) -> Case:
    """Boxes inside, on and beyond each border, by whole and half pixels."""
    boxes = draw_boxes(draw, draw.integer(1, 5), scale=draw.choice((1.0, 0.5))) - draw.choice((0.0, 2.0, 0.5))
    size = np.array(draw.choice(((8.0, 12.0), (12.0, 8.0), (10.0, 10.0))))
    return Case({"boxes": boxes, "image_size": size}, {"border": draw.choice((0.0, 1.0, 0.5, 2.0))}, draw.dtype())


def on_the_border(draw: Draw) -> Case:
    """Boxes that end on the border, or on what may stick out."""
    border = draw.choice((0.0, 1.0, 2.0))
    low, high = np.array([-border] * 2), np.array([12.0, 8.0]) + border
    boxes = np.array([[*low, *high], [1.0, 1.0, *high], [*low, 4.0, 4.0], [low[0], 1.0, 4.0, high[1]]])
    boxes = boxes[draw.integers((draw.integer(1, 4),), 0, 3)]
    return Case({"boxes": boxes, "image_size": np.array([8.0, 12.0])}, {"border": border}, draw.dtype())


def no_boxes(draw: Draw) -> Case:
    """No box."""
    return around_the_border(draw).with_arguments(boxes=np.zeros((0, 4)))


def many_boxes(seed: int) -> Case:
    """Thousands of boxes, most of them inside."""
    corner = np.random.default_rng(seed).integers(-40, 400, (6000, 2)).astype(np.float64)
    arguments = {"boxes": np.concatenate([corner, corner + 60.0], axis=1), "image_size": np.array([400.0, 480.0])}
    return Case(arguments, {"border": 0.0}, "float32", origin=f"crowd {seed}")


# --- bounds and laws ------------------------------------------------------------------------------------------


def terms_of_anchors(boxes: Array) -> Array:
    """Centre and half a side, of which each coordinate is the sum."""
    boxes = np.asarray(boxes)
    half = np.abs(boxes[:, 2:] - boxes[:, :2]) / 2
    terms = np.abs(boxes[:, 2:] + boxes[:, :2]) / 2 + half
    return np.concatenate([terms, terms], axis=1)


def _terms_of_grid(case: Case) -> tuple[int, Array]:
    """The shift of the cell and the coordinate in it, which cancel."""
    boxes = np.abs(case.arguments["cell"])
    shifts = _GRID(np.zeros_like(boxes), **case.options)
    return 2, np.abs(shifts) + np.tile(boxes, (len(shifts) // max(len(boxes), 1), 1))


def area_is_the_size_squared(bench: Bench, case: Case) -> None:
    """Whatever the ratio."""
    anchors = bench.evaluate(case).outputs[0]
    areas = (anchors[:, 2:] - anchors[:, :2]).prod(axis=1)
    plain(bench, case, areas, np.repeat(case.arguments["sizes"] ** 2, len(case.arguments["ratios"])), "areas")


def _reversed_cell(case: Case) -> Case:
    return case.with_arguments(cell=case.arguments["cell"][::-1].copy())


def _reversed_in_cells(output: Array, case: Case) -> Array:
    return np.asarray(output.reshape(-1, len(case.arguments["cell"]), 4)[:, ::-1].reshape(-1, 4))


def _touches(case: Case) -> bool:
    size = case.arguments["image_size"][::-1] + option(case, "border")
    return bool((case.arguments["boxes"][:, 2:] == size).any())


# --- contracts ------------------------------------------------------------------------------------------------

_PAPER = 'Ren et al., "Faster R-CNN", NIPS 2015, arXiv 1506.01497'
_FCOS = 'Tian et al., "FCOS", ICCV 2019, arXiv 1904.01355, section 3.1'
_IMPLIED = "implied by {}; kept because a failure then names the law that is broken"
_CONSTANT = {
    Kind.GRADIENT: "anchors are constants", Kind.DETACHED: "anchors are constants",
    Kind.REDUCES_TO: "nothing simpler to reduce to", Kind.LIMIT: "no limit", Kind.BOUND: "unbounded",
    Kind.BATCH: "anchors are the same for every image of a size", Kind.DISTRIBUTION: "not random",
}  # fmt: skip
_FEATURE_OPTIONS = (
    Option("feature_height", 1, "rows of the feature map"),
    Option("feature_width", 1, "columns of the feature map"),
    Option("stride", 8.0, "pixels from one cell to the next"),
)
_BAD_GRID = refuses(bad_option("stride", 0.0), bad_option("feature_height", -1), bad_option("offset", 1.5))
_GRID_ORDER = Ruling("order", "Row by row, column by column, the anchors of a cell together.")
_OFFSET = Ruling("offset", "The offset is a share of the stride; 0 puts centres on the upper left corner of a cell.")

CELL_ANCHORS = Technique(
    id="cell_anchors",
    title="Anchors of a cell",
    family="detection",
    summary="Boxes of given areas and ratios around the origin.",
    sources=(_PAPER + ", section 3.1.1",),
    oracle=oracle.cell_anchors,
    arguments=(
        Argument("sizes", ("S",), "float", "roots of the areas, in pixels, > 0"),
        Argument("ratios", ("R",), "float", "height by width, > 0"),
    ),
    options=(),
    outputs=(Output("anchors", ("S*R", "4"), "float", "x1, y1, x2, y2; all ratios of a size together"),),
    requirements=(
        Requirement("CELL-1", Level.MUST, Kind.VALUE, "Width is s / sqrt(a), height s sqrt(a), around the origin; not "
                    "rounded.", "section 3.1.1", value, cell, dtypes=FULL,
                    reaches={"several sizes and ratios": lambda c: min(a.size for a in c.arguments.values()) > 1},
                    no_mutant="CELL-5 asks the same of half precision"),
        Requirement("CELL-2", Level.MUST, Kind.CONSERVATION, "Every ratio has the same area, the size squared.",
                    "section 3.1.1", area_is_the_size_squared, cell, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("CELL-1")),
        Requirement("CELL-3", Level.MUST, Kind.INVARIANCE, "Twice the sizes give anchors twice as large.", "geometry",
                    same_as(lambda c: c.with_arguments(sizes=2.0 * c.arguments["sizes"]), "anchors of twice the size, "
                            "halved", lambda output, _: output / 2.0), cell, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("CELL-1")),
        Requirement("CELL-4", Level.MUST, Kind.EMPTY, "No sizes or ratios give no anchors.", "house rule", value,
                    empty_cell, dtypes=FULL, examples=0.2),
        Requirement("CELL-5", Level.SHOULD, Kind.EXTREME, "Half-precision sizes and ratios give anchors.",
                    "house rule", value, cell, dtypes=HALF, examples=0.5),
        Requirement("CELL-6", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls give equal "
                    "bits.", "house rule", purity, cell, dtypes=FULL, examples=0.3),
        Requirement("CELL-7", Level.MAY, Kind.ERROR, "Sizes or ratios of two axes are refused.", "house rule",
                    refuses(*(BadInput(f"{name} of two axes", _two_axes) for name, _two_axes in (
                        ("sizes", lambda c: c.with_arguments(sizes=c.arguments["sizes"][:, None])),
                        ("ratios", lambda c: c.with_arguments(ratios=c.arguments["ratios"][:, None]))))),
                    cell, dtypes=FULL, examples=0.2),
    ),
    mutants=CELL_MUTANTS,
    rulings=(
        Ruling("exact", "Neither sides nor centres are rounded."),
        Ruling("ratio-fastest", "All ratios of the first size, then of the next, as in detectron2."),
    ),
    not_applicable=_CONSTANT | {Kind.TIES: "no threshold"},
)  # fmt: skip

GRID_ANCHORS = Technique(
    id="grid_anchors",
    title="Anchors on a grid",
    family="detection",
    summary="The anchors of a cell at every cell of a feature map.",
    sources=(_PAPER + ", section 3.1.1",),
    oracle=oracle.grid_anchors,
    arguments=(Argument("cell", ("A", "4"), "float", "anchors of one cell, around the origin"),),
    options=(*_FEATURE_OPTIONS, Option("offset", 0.0, "where a centre lies in its cell, in strides")),
    outputs=(Output("anchors", ("H*W*A", "4"), "float", "x1, y1, x2, y2; nothing is clipped"),),
    summands=_terms_of_grid,
    requirements=(
        Requirement("GRID-1", Level.MUST, Kind.VALUE, "Row by row, column by column, the anchors of a cell are moved "
                    "by stride times index plus offset.", "section 3.1.1", value, grid, scenes=(large_grid,),
                    dtypes=FULL, reaches={"more rows than columns": lambda c:
                                          option(c, "feature_height") > option(c, "feature_width")}),
        Requirement("GRID-2", Level.MUST, Kind.INVARIANCE, "Reordering the anchors of the cell reorders those of every "
                    "cell.", "house rule", same_as(
                        _reversed_cell, "grid of reordered anchors", _reversed_in_cells), grid, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED.format("GRID-1")),
        Requirement("GRID-3", Level.MUST, Kind.EMPTY, "No row, no column or no anchor gives an empty grid.",
                    "house rule", value, empty_grid, dtypes=FULL, examples=0.3),
        Requirement("GRID-4", Level.SHOULD, Kind.EXTREME, "Half-precision anchors have a grid.", "house rule", value,
                    grid, dtypes=HALF, examples=0.5),
        Requirement("GRID-5", Level.MUST, Kind.PURITY, "The input is not written to, and equal calls give equal bits.",
                    "house rule", purity, grid, dtypes=FULL, examples=0.3),
        Requirement("GRID-6", Level.SHOULD, Kind.ERROR, "Anchors of three numbers are refused.", "house rule",
                    refuses(BadInput("anchors of three numbers", without_last_coordinate("cell"))), grid, dtypes=FULL,
                    examples=0.2),
        Requirement("GRID-7", Level.MAY, Kind.ERROR, "A stride of 0, a negative number of rows, and an offset beyond "
                    "the cell are refused.", "house rule", _BAD_GRID, grid, dtypes=FULL, examples=0.2),
    ),
    mutants=GRID_MUTANTS,
    rulings=(_GRID_ORDER, _OFFSET),
    not_applicable=_CONSTANT | {Kind.TIES: "no threshold", Kind.CONSERVATION: "GRID-1 demands the number of anchors"},
)  # fmt: skip

GRID_POINTS = Technique(
    id="grid_points",
    title="Points on a grid",
    family="detection",
    summary="Centres of the cells of a feature map: the candidates of an anchor-free detector.",
    sources=(_FCOS,),
    oracle=oracle.grid_points,
    arguments=(),
    options=(*_FEATURE_OPTIONS, Option("offset", 0.5, "where a point lies in its cell, in strides")),
    outputs=(Output("points", ("H*W", "2"), "float", "x and y in pixels"),),
    requirements=(
        Requirement("POINT-1", Level.MUST, Kind.VALUE, "Row by row, the point of a cell is stride times index plus "
                    "offset.", "section 3.1", value, points, dtypes=_FLOAT32,
                    no_mutant="a wrong grid shows at odd strides too: POINT-2"),
        Requirement("POINT-2", Level.SHOULD, Kind.TIES, "The middle of a cell of an odd stride is not rounded.",
                    "ruling offset", value, points_of_odd_strides, dtypes=_FLOAT32, examples=0.3),
        Requirement("POINT-3", Level.MUST, Kind.EMPTY, "No row or no column gives no points.", "house rule", value,
                    no_points, dtypes=_FLOAT32, examples=0.2),
        Requirement("POINT-4", Level.MUST, Kind.PURITY, "Equal calls give equal bits.", "house rule", purity, points,
                    dtypes=_FLOAT32, examples=0.2, no_mutant="a function of numbers has little to be impure with"),
        Requirement("POINT-5", Level.MAY, Kind.ERROR, "A stride of 0, a negative number of rows, and an offset beyond "
                    "the cell are refused.", "house rule", _BAD_GRID, points, dtypes=_FLOAT32, examples=0.2),
    ),
    mutants=POINT_MUTANTS,
    rulings=(_GRID_ORDER, _OFFSET),
    not_applicable=_CONSTANT | {
        Kind.CONSERVATION: "POINT-1 demands the number of points", Kind.INVARIANCE: "GRID-2 has it for anchors",
        Kind.EXTREME: "no array goes in",
    },
)  # fmt: skip

INSIDE_IMAGE = Technique(
    id="inside_image",
    title="Anchors that do not cross the border",
    family="detection",
    summary="Which boxes lie in the image, or stick out by a border at most.",
    sources=(_PAPER + ", section 3.3",),
    oracle=oracle.inside_image,
    arguments=(
        Argument("boxes", ("N", "4"), "float", "x1, y1, x2, y2 in pixels"),
        Argument("image_size", ("2",), "float", "height and width"),
    ),
    options=(Option("border", 0.0, "pixels that a box may stick out"),),
    outputs=(Output("inside", ("N",), "bool", "which boxes train"),),
    requirements=(
        Requirement("INSIDE-1", Level.MUST, Kind.VALUE, "A box is inside if no side crosses the border.",
                    "section 3.3", value, around_the_border, scenes=(many_boxes,), dtypes=FULL),
        Requirement("INSIDE-2", Level.MUST, Kind.TIES, "A box that ends on the border is inside.", "ruling border",
                    value, on_the_border, dtypes=FULL, examples=0.5, reaches={"a side on the border": _touches},
                    no_mutant="INSIDE-1 reaches the border by chance; here every box may"),
        Requirement("INSIDE-3", Level.MUST, Kind.EMPTY, "No boxes give an empty answer.", "house rule", value,
                    no_boxes, dtypes=FULL, examples=0.2),
        Requirement("INSIDE-4", Level.MUST, Kind.INVARIANCE, "Reordering the boxes reorders the answer.", "house rule",
                    same_as(lambda c: c.with_arguments(boxes=c.arguments["boxes"][::-1].copy()),
                            "boxes in the other order", lambda output, _: output[::-1]),
                    around_the_border, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("INSIDE-1")),
        Requirement("INSIDE-5", Level.SHOULD, Kind.EXTREME, "Half-precision boxes are compared as they are.",
                    "house rule", value, around_the_border, dtypes=HALF, examples=0.3),
        Requirement("INSIDE-6", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls give equal "
                    "answers.", "house rule", purity, around_the_border, dtypes=FULL, examples=0.3),
        Requirement("INSIDE-7", Level.MAY, Kind.ERROR, "A negative border is refused.", "house rule",
                    refuses(bad_option("border", -1.0)), around_the_border, dtypes=FULL, examples=0.2),
    ),
    mutants=INSIDE_MUTANTS,
    rulings=(Ruling("border", "The border lies at the width, not at the last pixel; on it a box is inside."),),
    not_applicable=_CONSTANT | {Kind.CONSERVATION: "conserves nothing"},
)  # fmt: skip
