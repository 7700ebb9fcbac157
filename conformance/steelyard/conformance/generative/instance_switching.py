"""Contracts of instance switching: which objects may change places, and the images in which they did.

Wang et al., "Data Augmentation for Object Detection via Progressive and Selective Instance-Switching" (PSIS, arXiv
1906.00358), section 3.
"""

from __future__ import annotations

import numpy as np

from steelyard.conformance.checking import Bench, bad_option, bad_shape, purity, refuses, same_as, value
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
from steelyard.conformance.generation import Draw
from steelyard.conformance.generative.instance_switching_mutants import ELIGIBILITY_MUTANTS, SWITCHING_MUTANTS
from steelyard.conformance.precision import round_to
from steelyard.reference.generative import instance_switching as oracle

PAPER = "Wang et al., Progressive and Selective Instance-Switching, arXiv 1906.00358, section 3"
_CODE = "Hwang64/PSIS: extract_annotation_pair.py, instance_switch.py"
_FULL = ("float32", "float64")  # no floats go in: one run of each kind is enough
_LIMITS: dict[str, OptionValue] = {"min_size_ratio": 0.3, "max_size_ratio": 3.0, "max_difference": 0.3}
_TERMS = 9 * 4 + 1  # pixels of a mask, times pixels of a colour, and the old one

# --- inputs ---------------------------------------------------------------------------------------------------


def _masks(draw: Draw, boxes: Array, canvas: tuple[int, int], holes: int = 12) -> Array:
    """Masks that fill their boxes but for a few holes, and stray pixels outside, which do not count."""
    number, (height, width) = len(boxes), canvas
    y, x = np.arange(height)[:, None], np.arange(width)
    inside = np.array([(x >= x1) & (x < x2) & (y >= y1) & (y < y2) for x1, y1, x2, y2 in boxes])
    other = draw.array((number, height, width), lambda: float(draw.flag(holes))).astype(bool)
    return np.asarray(inside ^ other)


def _boxes(draw: Draw, number: int, canvas: tuple[int, int], least: int) -> Array:
    height, width = canvas
    rows = []
    for _ in range(number):
        w, h = draw.integer(least, width), draw.integer(least, height)
        x, y = draw.integer(0, width - w), draw.integer(0, height - h)
        rows.append([x, y, x + w, y + h])
    return np.array(rows, dtype=np.int64).reshape(-1, 4)


def _objects(draw: Draw, number: int, least: int) -> dict[str, Array]:
    canvas = draw.integer(2, 5), draw.integer(2, 5)
    boxes = _boxes(draw, number, canvas, least)
    return {"masks": _masks(draw, boxes, canvas), "boxes": boxes}


def objects(draw: Draw) -> Case:
    """Two to four objects, mostly of one class and of different images, on canvases of up to 5 x 5."""
    number = draw.integer(2, 4)
    arguments = _objects(draw, number, 1)
    arguments["labels"] = draw.array((number,), lambda: float(draw.choice((0, 0, 0, 0, 1)))).astype(np.int64)
    arguments["image_index"] = np.array([n if draw.flag(60) else 0 for n in range(number)])
    arguments["crowd"] = draw.array((number,), lambda: float(draw.flag(8))).astype(bool)
    arguments["pairs"] = np.array(
        [(i, (i + draw.integer(1, number - 1)) % number) for i in range(number)], dtype=np.int64
    )
    return Case(arguments, {**_LIMITS, "max_difference": draw.choice((0.3, 0.6, 1.0))}, draw.dtype(_FULL))


def _two(first: tuple[int, int], second: tuple[int, int], canvas: tuple[int, int] = (2, 13)) -> dict[str, Array]:
    """Two objects of one row: the length of the box, and how much of it the mask fills."""
    masks = np.zeros((2, *canvas), dtype=bool)
    for mask, (_, filled) in zip(masks, (first, second), strict=True):
        mask[0, :filled] = True
    return {
        "masks": masks,
        "boxes": np.array([[0, 0, first[0], 1], [0, 0, second[0], 1]]),
        "labels": np.zeros(2, dtype=np.int64),
        "image_index": np.arange(2),
        "crowd": np.zeros(2, dtype=bool),
        "pairs": np.array([[0, 1], [1, 0]]),
    }


_THRESHOLDS = (
    ((13, 10), (13, 13), 0.3),  # 3 of 10 pixels differ
    ((13, 13), (13, 10), 0.3),
    ((13, 10), (13, 13), 0.25),  # 3 of 13, but of 10 more
    ((13, 9), (13, 13), 0.3),
    ((13, 8), (13, 10), 0.25),
    ((12, 11), (4, 4), 1.0),  # boxes of thrice the size
    ((10, 9), (3, 3), 1.0),
    ((3, 2), (10, 10), 1.0),  # 0.3
    ((12, 10), (4, 4), 0.3),  # 2 of 12 pixels differ, which were 4
    ((13, 12), (4, 4), 1.0),
    ((3, 2), (11, 11), 1.0),
    ((8, 8), (8, 8), 1.0),  # no difference
    ((8, 8), (4, 4), 1.0),
    ((6, 3), (4, 2), 1.0),  # none at the size of the first
    ((4, 2), (6, 3), 1.0),
)


def at_the_thresholds(draw: Draw) -> Case:
    """Shares of 3 in 10, sizes of 3 to 1 and of 3 to 10, one step beyond them, and masks that are equal."""
    first, second, limit = draw.choice(_THRESHOLDS)
    arguments = _two(first, second)
    if draw.flag(15):
        arguments["image_index"] = np.zeros(2, dtype=np.int64)
    if draw.flag(15):
        arguments["crowd"] = np.array([True, False])
    return Case(arguments, {**_LIMITS, "max_difference": limit}, draw.dtype(_FULL))


def without_pixels(draw: Draw) -> Case:
    """Boxes without a pixel, masks without one, and no pair at all."""
    arguments = _two(*draw.choice((((4, 0), (4, 4)), ((4, 4), (4, 0)), ((0, 0), (4, 4)), ((4, 4), (0, 0)))))
    if draw.flag(30):
        arguments["pairs"] = arguments["pairs"][:0]
    return Case(arguments, {**_LIMITS, "max_difference": 1.0}, draw.dtype(_FULL))


def _scene(draw: Draw, number: int, least: int = 1) -> Case:
    arguments = _objects(draw, number, least)
    dtype, shape = draw.dtype(), arguments["masks"].shape[1:]
    colours = draw.array((number, draw.integer(1, 2), *shape), lambda: 4.0 * draw.fraction())
    pairs = [(i, (i + draw.integer(1, number - 1)) % number) for i in range(draw.integer(1, number))]
    return Case(
        {
            "images": round_to(dtype, colours), **arguments, "image_index": np.arange(number)[::-1].copy(),
            "pairs": np.array(pairs, dtype=np.int64),
        },
        {}, dtype,
    )  # fmt: skip


def scenes(draw: Draw) -> Case:
    """Two or three images of one object each, and up to as many pairs."""
    return _scene(draw, draw.integer(2, 3))


def no_pair(draw: Draw) -> Case:
    """Images, objects, and nothing to switch; or images without a channel."""
    case = _scene(draw, 2)
    if draw.flag():
        return case.with_arguments(pairs=case.arguments["pairs"][:0])
    return case.with_arguments(images=case.arguments["images"][:, :0])


def photographs(seed: int) -> Case:
    """Eight images of 48 x 64 pixels in three colours with three objects each, ten pairs."""
    random = np.random.default_rng(seed)
    number, height, width = 24, 48, 64
    x, y = (np.sort(np.stack([random.integers(0, s - 8, number), random.integers(0, s - 8, number) + 8])) for s in
            (width, height))  # fmt: skip
    boxes = np.stack([x.min(0), y.min(0), x.max(0) + 1, y.max(0) + 1], axis=1)
    cy, cx = ((boxes[:, 1] + boxes[:, 3]) / 2)[:, None, None], ((boxes[:, 0] + boxes[:, 2]) / 2)[:, None, None]
    ry, rx = ((boxes[:, 3] - boxes[:, 1]) / 2)[:, None, None], ((boxes[:, 2] - boxes[:, 0]) / 2)[:, None, None]
    rows, columns = np.arange(height)[:, None] + 0.5, np.arange(width) + 0.5
    index = np.arange(number) % 8
    first = random.choice(number, 10)
    arguments = {
        "images": random.integers(0, 256, (8, 3, height, width)).astype(float),
        "masks": ((rows - cy) / ry) ** 2 + ((columns - cx) / rx) ** 2 <= 1.0,
        "boxes": boxes, "image_index": index, "pairs": np.stack([first, (first + 1) % number], axis=1),
    }  # fmt: skip
    return Case(arguments, {}, "float32", origin=f"scene {seed}")


def _of_another_size(case: Case) -> bool:
    sides = case.arguments["boxes"][:, 2:] - case.arguments["boxes"][:, :2]
    first, second = sides[case.arguments["pairs"]].swapaxes(0, 1)
    return bool((first != second).any())


def _a_single_row(case: Case) -> bool:
    boxes = case.arguments["boxes"]
    return bool((boxes[:, 3] - boxes[:, 1] == 1).any())


# --- laws -----------------------------------------------------------------------------------------------------


def _pairs_in_reverse(case: Case) -> Case:
    return case.with_arguments(pairs=case.arguments["pairs"][::-1].copy())


def _sides_in_reverse(case: Case) -> Case:
    return case.with_arguments(pairs=case.arguments["pairs"][:, ::-1].copy())


def _other_sides(output: Array, case: Case) -> Array:
    return output[:, ::-1] if output.ndim == case.arguments["images"].ndim + 1 else output


def _masks_filled_outside(case: Case) -> Case:
    """Pixels outside of the objects' boxes turned over."""
    masks = ~case.arguments["masks"]
    for mask, own, (x1, y1, x2, y2) in zip(masks, case.arguments["masks"], case.arguments["boxes"], strict=True):
        mask[y1:y2, x1:x2] = own[y1:y2, x1:x2]
    return case.with_arguments(masks=masks)


def twice(bench: Bench, case: Case) -> None:
    """Each pair switched again, from where it is then: boxes and images of all objects as before."""
    _, boxes, index = (np.asarray(output) for output in bench.evaluate(case).outputs)
    for p, pair in enumerate(case.arguments["pairs"]):
        again = case.with_arguments(boxes=boxes[p], image_index=index[p], pairs=pair[None])
        _, restored, back = (np.asarray(output) for output in bench.evaluate(again).outputs)
        bench.expect(np.array_equal(restored[0], case.arguments["boxes"]), f"boxes after two switches of {pair}", case)
        bench.expect(np.array_equal(back[0], case.arguments["image_index"]), f"places after two of {pair}", case)


def outside_of_the_box(bench: Bench, case: Case) -> None:
    """What is outside of the boxes is as given; inside, no colour is beyond those of the two images."""
    made = np.asarray(bench.evaluate(case).outputs[0], dtype=np.float64)
    images, boxes, index = (case.arguments[name] for name in ("images", "boxes", "image_index"))
    for p, pair in enumerate(case.arguments["pairs"]):
        for side, n in enumerate(pair):
            x1, y1, x2, y2 = boxes[n]
            outside = np.ones(made.shape[-2:], dtype=bool)
            outside[y1:y2, x1:x2] = False
            same = np.array_equal(made[p, side][:, outside], images[index[n]][:, outside])
            bench.expect(same, f"pair {p}, image {side}: changed outside of the box {boxes[n]}", case)


def _magnitude(case: Case) -> tuple[int, Array]:
    """A pixel is a sum of colours with weights that add up to 1, each with its own rounding."""
    images, pairs = case.arguments["images"], case.arguments["pairs"]
    return _TERMS, np.full((len(pairs), 2, *images.shape[1:]), np.abs(images).max(initial=0.0))


# --- contracts ------------------------------------------------------------------------------------------------

_OBJECTS = (
    Argument("masks", ("N", "H", "W"), "bool", "pixels of each object, on the canvas of its image"),
    Argument("boxes", ("N", "4"), "int", "x1, y1, x2, y2 in whole pixels on the canvas; x2 and y2 lie outside"),
)
_PAIRS = Argument("pairs", ("P", "2"), "int", "first and second object")
_NEAREST = Ruling("nearest", "A mask is brought to another size by the nearest pixel, floor((i + 1/2) h' / h) of h'.")
_NOT_RANDOM = {
    Kind.GRADIENT: "makes training data", Kind.DETACHED: "makes training data", Kind.LIMIT: "no limit",
    Kind.DISTRIBUTION: "not random: which pairs are switched is chosen before",
}  # fmt: skip

SWITCH_ELIGIBILITY = Technique(
    id="switch_eligibility",
    title="Instance switching: which objects may change places",
    family="generative",
    summary="Pairs of objects of one class, in two images, whose boxes and masks are about alike (PSIS).",
    sources=(PAPER, _CODE),
    oracle=oracle.switch_eligibility,
    arguments=(
        *_OBJECTS,
        Argument("labels", ("N",), "int", "classes"),
        Argument("image_index", ("N",), "int", "image of each object"),
        Argument("crowd", ("N",), "bool", "regions of several objects"),
        _PAIRS,
    ),
    options=(
        Option("min_size_ratio", 0.3, "least quotient of the boxes' areas, first over second"),
        Option("max_size_ratio", 3.0, "largest"),
        Option("max_difference", 0.3, "largest share of either mask's pixels that may differ"),
    ),
    outputs=(Output("eligible", ("P",), "bool", "whether the pair may be switched"),),
    requirements=(
        Requirement("PSE-1", Level.MUST, Kind.VALUE,
                    "Another image, the same class, no crowd; sizes and masks, at the first one's size, alike.",
                    "section 3.2; the code's numbers", value, objects, dtypes=_FULL,
                    reaches={"an eligible pair": lambda c: bool(oracle.switch_eligibility(
                                 **c.arguments, **c.options).any()),  # type: ignore[arg-type]
                             "a crowd": lambda c: bool(c.arguments["crowd"].any()),
                             "boxes of two sizes": _of_another_size}),
        Requirement("PSE-2", Level.MUST, Kind.TIES, "The bounds belong to the range; equal masks are not switched.",
                    "ruling bounds", value, at_the_thresholds, dtypes=_FULL, examples=0.6),
        Requirement("PSE-3", Level.MUST, Kind.EMPTY, "An object without a pixel is never switched.", "ruling empty",
                    value, without_pixels, dtypes=_FULL, examples=0.5),
        Requirement("PSE-4", Level.MUST, Kind.INVARIANCE, "Pixels of a mask outside of its box do not count.",
                    "section 3.2", same_as(_masks_filled_outside, "eligibility with other pixels outside"), objects,
                    dtypes=_FULL, examples=0.2, no_mutant="implied by PSE-1; names the law"),
        Requirement("PSE-5", Level.MUST, Kind.BATCH, "Pairs do not see each other.", "house rule",
                    same_as(_pairs_in_reverse, "eligibility of reversed pairs", lambda o, _: o[::-1]), objects,
                    dtypes=_FULL, examples=0.2, no_mutant="implied by PSE-1; names the law"),
        Requirement("PSE-6", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, objects, dtypes=_FULL, examples=0.2),
        Requirement("PSE-7", Level.SHOULD, Kind.ERROR, "Labels of another number of objects are refused.",
                    "house rule", refuses(bad_shape("labels")), objects, dtypes=_FULL, examples=0.1),
        Requirement("PSE-8", Level.MAY, Kind.ERROR, "A share above 1 is refused.", "house rule",
                    refuses(bad_option("max_difference", 1.5)), objects, dtypes=_FULL, examples=0.1),
    ),
    mutants=ELIGIBILITY_MUTANTS,
    rulings=(
        Ruling("pixels", "Pixels that differ are counted; squares of 8-bit differences happen to count them, too."),
        Ruling("bounds", "Every bound belongs to its range; quotients are of float64, so that 18 of 60 are 0.3."),
        Ruling("empty", "An object whose box or mask, at the size of the first, has no pixel is not switched."),
        _NEAREST,
    ),
    not_applicable={
        **_NOT_RANDOM, Kind.REDUCES_TO: "a rule of comparisons", Kind.CONSERVATION: "a decision conserves nothing",
        Kind.BOUND: "a decision", Kind.EXTREME: "whole numbers only",
    },
)  # fmt: skip

SWITCH_INSTANCES = Technique(
    id="switch_instances",
    title="Instance switching: images and boxes after two objects changed places",
    family="generative",
    summary="Each object of a pair is cut out, brought to the other one's box, and pasted with a soft mask (PSIS).",
    sources=(PAPER, _CODE),
    oracle=oracle.switch_instances,
    arguments=(
        Argument("images", ("I", "C", "H", "W"), "float", "colours"),
        *_OBJECTS,
        Argument("image_index", ("N",), "int", "image of each object"),
        _PAIRS,
    ),
    options=(),
    outputs=(
        Output("switched", ("P", "2", "C", "H", "W"), "float", "images of the first and of the second object"),
        Output("new_boxes", ("P", "N", "4"), "int", "boxes of all objects after the switch"),
        Output("new_image_index", ("P", "N"), "int", "images of all objects after the switch"),
    ),
    summands=_magnitude,
    requirements=(
        Requirement("PSS-1", Level.MUST, Kind.VALUE,
                    "The new object in the old one's box, with its smoothed mask as the share; boxes exchanged.",
                    "section 3.1; the code", value, scenes, scenes=(photographs,),
                    reaches={"boxes of two sizes": _of_another_size, "a box of one row": _a_single_row,
                             "several pairs": lambda c: len(c.arguments["pairs"]) > 1}),
        Requirement("PSS-2", Level.MUST, Kind.EMPTY, "Without pairs, or without channels, there is nothing to paint.",
                    "house rule", value, no_pair, examples=0.2),
        Requirement("PSS-3", Level.MUST, Kind.CONSERVATION,
                    "Switched twice, every object is where it was, in its own box.", "section 3.1", twice, scenes,
                    dtypes=_FULL, examples=0.3, no_mutant="implied by PSS-1; names the law"),
        Requirement("PSS-4", Level.MUST, Kind.BOUND, "Outside of the box the image is what it was.", "section 3.1",
                    outside_of_the_box, scenes, examples=0.3, no_mutant="implied by PSS-1; names the law"),
        Requirement("PSS-5", Level.MUST, Kind.INVARIANCE,
                    "A pair in the other order gives the same two images in the other order.", "section 3.1",
                    same_as(_sides_in_reverse, "images of the reversed pair", _other_sides), scenes, examples=0.3,
                    no_mutant="implied by PSS-1; names the law"),
        Requirement("PSS-6", Level.MUST, Kind.BATCH, "Every pair starts from the images as given.", "ruling originals",
                    same_as(_pairs_in_reverse, "images of pairs in reverse", lambda o, _: o[::-1]), scenes,
                    examples=0.3, no_mutant="implied by PSS-1 for several pairs; names the law"),
        Requirement("PSS-7", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, scenes, examples=0.2),
        Requirement("PSS-8", Level.SHOULD, Kind.ERROR, "Boxes of another number of objects are refused.",
                    "house rule", refuses(bad_shape("boxes")), scenes, dtypes=_FULL, examples=0.1),
    ),
    mutants=SWITCHING_MUTANTS,
    rulings=(
        _NEAREST,
        Ruling("linear", "Colours are interpolated linearly between pixel centres; the code takes a Lanczos filter."),
        Ruling("smoothing", "3 x 3 Gaussian, sigma 2, after the change of size, mirrored at the edges of the box."),
        Ruling("originals", "Every pair starts from the images as given, as in the code: it makes two new images."),
        Ruling("attached", "Objects inside of the box that goes stay; the code copies them, with an unscaled offset."),
    ),
    not_applicable={
        **_NOT_RANDOM, Kind.REDUCES_TO: "PSS-1 covers boxes of one size", Kind.TIES: "comparisons of whole numbers",
        Kind.EXTREME: "weights that add up to 1",
    },
)  # fmt: skip
