"""Contracts of the anchors of RetinaNet and of Faster R-CNN.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv 1708.02002), section 4; Ren et al., "Faster
R-CNN", NIPS 2015 (arXiv 1506.01497), section 3.1.1.

The sizes of RetinaNet's feature maps (`retinanet_feature_sizes` of the specification) have no contract of their own:
the anchors and their levels say how many cells each map has.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import Bench, bad_option, purity, refuses, value
from steelyard.conformance.contract import (
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
from steelyard.conformance.detection.anchors import terms_of_anchors
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import PAPER, option
from steelyard.reference.detection import anchor_designs as oracle
from steelyard.reference.detection.anchors import cell_anchors, grid_anchors

_FLOAT32 = ("float32",)  # numbers in: the format in which detectors keep their anchors
_RETINANET: Callable[..., Any] = oracle.retinanet_anchors
_FASTER_RCNN: Callable[..., Any] = oracle.faster_rcnn_anchors

# --- inputs ---------------------------------------------------------------------------------------------------


def image(draw: Draw) -> Case:
    """An image of up to a hundred pixels, seldom a multiple of 32."""
    options = {"height": draw.integer(1, 99), "width": draw.integer(1, 99), "offset": draw.choice((0.0, 0.5, 0.25))}
    return Case({}, options, draw.dtype(_FLOAT32))


def photograph(seed: int) -> Case:
    """An image as detectors see it: its shorter side 800 pixels, or as the paper's 1000 x 600."""
    height, width = ((800, 1333), (600, 1000), (1067, 800))[seed % 3]
    return Case({}, {"height": height, "width": width, "offset": 0.0}, "float32", origin=f"photograph {seed % 3}")


# --- laws and bounds ------------------------------------------------------------------------------------------


def _terms_of_retinanet(case: Case) -> tuple[int, Array]:
    return 2, terms_of_anchors(_RETINANET(**case.options).boxes)


def _terms_of_faster_rcnn(case: Case) -> tuple[int, Array]:
    return 2, terms_of_anchors(_FASTER_RCNN(**case.options))


def nine_in_a_cell(bench: Bench, case: Case) -> None:
    """Nine anchors in each cell share their centre, and every level has its own."""
    boxes, levels = bench.evaluate(case).outputs
    centres = (boxes[:, 2:] + boxes[:, :2]).reshape(-1, 9, 2) / 2
    apart = np.abs(centres - centres[:, :1]).max(initial=0.0)
    bench.expect(bool(apart < 1e-2), f"anchors of a cell have centres {apart} pixels apart", case)
    changes = np.diff(levels)
    ordered = levels[0] == 0 and levels[-1] == 4 and set(np.unique(changes)) == {0, 1}
    bench.expect(bool(ordered), "levels do not go from 0 to 4", case)


# --- mutants --------------------------------------------------------------------------------------------------


def retinanet(  # noqa: PLR0913 - each is a fault
    *,
    multiple: int = 32,
    down: bool = False,
    last_down: bool = False,
    sizes: Callable[[float, int], float] = lambda size, octave: size * 2.0 ** (octave / 3),
    scale: float = 4.0,
    ratios: tuple[float, ...] = (0.5, 1.0, 2.0),
    rounded: bool = False,
    divided: bool = False,
    ratio_first: bool = False,
    first_level: int = 0,
    offset: float | None = None,
) -> Callable[..., tuple[Array, Array]]:
    """RetinaNet's anchors with something changed, after the specification's checks."""

    def mutant(**options: Any) -> tuple[Array, Array]:  # noqa: ANN401
        _RETINANET(**options)
        padded = [-(-options[side] // multiple) * multiple for side in ("height", "width")]
        boxes, levels = [], []
        for index, level in enumerate((3, 4, 5, 6, 7)):
            stride = 2**level
            rows, columns = (
                max(1, n // stride) if down or (last_down and level > 5) else -(-n // stride) for n in padded
            )
            cell = cell_anchors([sizes(scale * stride, octave) for octave in range(3)], ratios)
            if ratio_first:
                cell = cell.reshape(3, 3, 4).swapaxes(0, 1).reshape(9, 4)
            cell = np.round(cell) if rounded else cell
            steps = (padded[0] // rows, padded[1] // columns) if divided else (stride, stride)
            own = options["offset"] if offset is None else offset
            grid = grid_anchors(cell, feature_height=rows, feature_width=columns, stride=1.0, offset=0.0)
            shift = grid_anchors(np.zeros((9, 4)), feature_height=rows, feature_width=columns, stride=1.0)
            boxes.append(grid - shift + (shift + own) * np.array([steps[1], steps[0]] * 2))
            levels.append(np.full(len(grid), index + first_level))
        return np.concatenate(boxes), np.concatenate(levels)

    return mutant


def whole_sizes(size: float, octave: int) -> float:
    return float(int(size * 2.0 ** (octave / 3)))


def coarsest_first(**options: Any) -> tuple[Array, Array]:  # noqa: ANN401
    boxes, levels = _RETINANET(**options)
    order = np.argsort(-levels, kind="stable")
    return boxes[order], levels[order]


_PUBLISHED = np.array([
    (-83, -39, 100, 56), (-175, -87, 192, 104), (-359, -183, 376, 200), (-55, -55, 72, 72), (-119, -119, 136, 136),
    (-247, -247, 264, 264), (-35, -79, 52, 96), (-79, -167, 96, 184), (-167, -343, 184, 360),
])  # fmt: skip
"""Anchors of the first cell as py-faster-rcnn has them: inclusive whole pixels, ratio by ratio."""


def faster_rcnn(*, down: bool = False, cell: Array | None = None, offset: float | None = None) -> Callable[..., Array]:
    """Faster R-CNN's anchors with something changed, after the specification's checks."""

    def mutant(**options: Any) -> Array:  # noqa: ANN401
        _FASTER_RCNN(**options)
        rows, columns = (max(1, n // 16) if down else -(-n // 16) for n in (options["height"], options["width"]))
        anchors = cell_anchors((128.0, 256.0, 512.0), (0.5, 1.0, 2.0)) if cell is None else cell
        own = options["offset"] if offset is None else offset
        return np.asarray(grid_anchors(anchors, feature_height=rows, feature_width=columns, stride=16, offset=own))

    return mutant


_EXACT_CELL = cell_anchors((128.0, 256.0, 512.0), (0.5, 1.0, 2.0))


def _one_sided(function: Callable[..., Any]) -> Callable[..., Any]:
    return lambda **options: function(**{**options, "width": options["height"]})


def _unchecked(function: Callable[..., Any]) -> Callable[..., Any]:
    return mistakes.unchecked(function, height=lambda n: max(int(n), 1), width=lambda n: max(int(n), 1),
                              offset=lambda n: min(max(n, 0.0), 1.0))  # fmt: skip


# --- contracts ------------------------------------------------------------------------------------------------

_OPTIONS = (
    Option("height", 800, "pixels of the image that enters the network, before padding"),
    Option("width", 1333, "the same"),
    Option("offset", 0.0, "where a centre lies in its cell, in strides"),
)
_BAD = refuses(bad_option("height", 0), bad_option("width", -1), bad_option("offset", 1.5))
_NOT_APPLICABLE = {
    Kind.GRADIENT: "anchors are constants", Kind.DETACHED: "anchors are constants", Kind.LIMIT: "no limit",
    Kind.REDUCES_TO: "grid_anchors has the grid of one level", Kind.INVARIANCE: "cell_anchors and grid_anchors",
    Kind.BOUND: "unbounded", Kind.TIES: "no threshold", Kind.EMPTY: "an image has a pixel, and so a cell",
    Kind.EXTREME: "no array goes in", Kind.BATCH: "anchors are the same for every image of a size",
    Kind.DISTRIBUTION: "not random",
}  # fmt: skip
_NUMBERS = "a function of numbers has little to be impure with"
_FASTER_RCNN_PAPER = 'Ren et al., "Faster R-CNN", NIPS 2015, arXiv 1506.01497, section 3.1.1'

RETINANET_ANCHORS = Technique(
    id="retinanet_anchors",
    title="Anchors of RetinaNet",
    family="detection",
    summary="Nine anchors in every cell of five feature maps: 100,000 to 200,000 an image.",
    sources=(PAPER + ", section 4",),
    oracle=_RETINANET,
    arguments=(),
    options=_OPTIONS,
    outputs=(
        Output("boxes", ("N", "4"), "float", "x1, y1, x2, y2; level by level, nothing is clipped"),
        Output("levels", ("N",), "int", "0 for P3 to 4 for P7"),
    ),
    summands=_terms_of_retinanet,
    requirements=(
        Requirement("RETINA-1", Level.MUST, Kind.VALUE, "Level l has stride 2^l, sizes 4 2^l {2^0, 2^(1/3), 2^(2/3)} "
                    "and ratios 1/2, 1, 2, not rounded.", "section 4", value, image, scenes=(photograph,),
                    dtypes=_FLOAT32,
                    reaches={"a height that is no multiple of 32": lambda c: option(c, "height") % 32 != 0}),
        Requirement("RETINA-2", Level.MUST, Kind.CONSERVATION, "The nine anchors of a cell share their centre; levels "
                    "go from 0 to 4.", "section 4", nine_in_a_cell, image, dtypes=_FLOAT32, examples=0.2,
                    no_mutant="implied by RETINA-1; kept because a failure then names the law that is broken"),
        Requirement("RETINA-3", Level.MUST, Kind.PURITY, "Equal calls give equal bits.", "house rule", purity, image,
                    dtypes=_FLOAT32, examples=0.1, no_mutant=_NUMBERS),
        Requirement("RETINA-4", Level.MAY, Kind.ERROR, "An image without pixels, and an offset beyond the cell, are "
                    "refused.", "house rule", _BAD, image, dtypes=_FLOAT32, examples=0.1),
    ),
    mutants=(
        Mutant("retinanet/rounded", "anchors of a cell rounded to whole pixels", retinanet(rounded=True)),
        Mutant("retinanet/whole-sizes", "sizes cut to whole pixels", retinanet(sizes=whole_sizes)),
        Mutant("retinanet/divided-stride", "the size of the image by that of the map, cut, as stride: 61 and 114 in "
               "place of 64 and 128 for 800 pixels", retinanet(divided=True)),
        Mutant("retinanet/rounded-and-divided", "whole sizes, rounded anchors, and strides by division",
               retinanet(rounded=True, sizes=whole_sizes, divided=True),
               seen_in="torchvision's RetinaNet and AnchorGenerator"),
        Mutant("retinanet/rounds-down", "feature maps of the size rounded down", retinanet(down=True)),
        Mutant("retinanet/last-round-down", "P6 and P7 rounded down, as without the border of their convolutions",
               retinanet(last_down=True)),
        Mutant("retinanet/no-padding", "an image that is not padded to a multiple of 32", retinanet(multiple=1)),
        Mutant("retinanet/pads-to-128", "an image padded to the stride of P7", retinanet(multiple=128)),
        Mutant("retinanet/linear-octave", "thirds of an octave in equal steps",
               retinanet(sizes=lambda size, octave: size * (1.0 + octave / 3))),
        Mutant("retinanet/scale-8", "anchors twice as large", retinanet(scale=8.0)),
        Mutant("retinanet/width-by-height", "the ratio read as width by height", retinanet(ratios=(2.0, 1.0, 0.5))),
        Mutant("retinanet/ratio-first", "all sizes of a ratio together", retinanet(ratio_first=True),
               seen_in="mmdet and torchvision (re-indexing is enough)"),
        Mutant("retinanet/level-names", "levels numbered from 3", retinanet(first_level=3)),
        Mutant("retinanet/middle", "centres in the middle of their cells", retinanet(offset=0.5)),
        Mutant("retinanet/coarsest-first", "P7 first", coarsest_first),
        Mutant("retinanet/square", "the height for both sides of the image", _one_sided(_RETINANET)),
        Mutant("retinanet/unchecked", "no check of its options", _unchecked(_RETINANET)),
    ),
    rulings=(
        Ruling("padding", "Images are padded to a multiple of 32; P6 and P7 round up."),
        Ruling("exact", "Nothing is rounded, clipped or left out; size by size, the ratio fastest."),
    ),
    not_applicable=_NOT_APPLICABLE,
)  # fmt: skip

FASTER_RCNN_ANCHORS = Technique(
    id="faster_rcnn_anchors",
    title="Anchors of Faster R-CNN",
    family="detection",
    summary="Nine anchors in every cell of one feature map: about 20,000 an image.",
    sources=(_FASTER_RCNN_PAPER,),
    oracle=_FASTER_RCNN,
    arguments=(),
    options=_OPTIONS,
    outputs=(Output("anchors", ("N", "4"), "float", "x1, y1, x2, y2; nothing is clipped"),),
    summands=_terms_of_faster_rcnn,
    requirements=(
        Requirement("RPN-1", Level.MUST, Kind.VALUE, "Stride 16, sizes 128, 256, 512 and ratios 1/2, 1, 2, not "
                    "rounded.", "section 3.1.1; ruling exact", value, image, scenes=(photograph,), dtypes=_FLOAT32),
        Requirement("RPN-2", Level.MUST, Kind.PURITY, "Equal calls give equal bits.", "house rule", purity, image,
                    dtypes=_FLOAT32, examples=0.2, no_mutant=_NUMBERS),
        Requirement("RPN-3", Level.MAY, Kind.ERROR, "An image without pixels, and an offset beyond the cell, are "
                    "refused.", "house rule", _BAD, image, dtypes=_FLOAT32, examples=0.2),
    ),
    mutants=(
        Mutant("faster-rcnn/published-integers", "whole inclusive pixels around (7.5, 7.5)",
               faster_rcnn(cell=_PUBLISHED.astype(np.float64)), seen_in="py-faster-rcnn"),
        Mutant("faster-rcnn/rounded", "anchors of a cell rounded to whole pixels",
               faster_rcnn(cell=np.round(_EXACT_CELL)), seen_in="torchvision's AnchorGenerator"),
        Mutant("faster-rcnn/rounds-down", "a feature map of the size rounded down", faster_rcnn(down=True),
               seen_in="networks that pool without padding"),
        Mutant("faster-rcnn/width-by-height", "the ratio read as width by height",
               faster_rcnn(cell=cell_anchors((128.0, 256.0, 512.0), (2.0, 1.0, 0.5)))),
        Mutant("faster-rcnn/ratio-first", "all sizes of a ratio together", faster_rcnn(
            cell=_EXACT_CELL.reshape(3, 3, 4).swapaxes(0, 1).reshape(9, 4))),
        Mutant("faster-rcnn/middle", "centres in the middle of their cells", faster_rcnn(offset=0.5)),
        Mutant("faster-rcnn/square", "the height for both sides of the image", _one_sided(_FASTER_RCNN)),
        Mutant("faster-rcnn/unchecked", "no check of its options", _unchecked(_FASTER_RCNN)),
    ),
    rulings=(
        Ruling("exact", "Sides are exact where the authors' code has whole inclusive pixels; nothing is clipped or "
               "left out: inside_image says which anchors train."),
    ),
    not_applicable=_NOT_APPLICABLE | {Kind.CONSERVATION: "RPN-1 demands the number of anchors"},
)  # fmt: skip
