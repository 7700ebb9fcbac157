"""Contract of the bounding box generator.

Oksuz, Cam, Akbas, Kalkan, "Generating Positive Bounding Boxes for Balanced Training of Object Detectors", WACV 2020
(arXiv 1909.09777), algorithm 1.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
    Bench,
    any_axes_of_images,
    bad_shape,
    batch_equals_per_image,
    purity,
    refuses,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Check,
    Kind,
    Level,
    Mutant,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import PRECISIONS, Float, round_to
from steelyard.conformance.statistics import Suspicion, categories
from steelyard.reference.detection.box_overlaps import aligned_iou
from steelyard.reference.generative import box_generator as oracle
from steelyard.reference.generative.box_generator_laws import generated_iou_survival, generated_side_probabilities
from steelyard.reference.generative.feasible_region import best_iou_of_corner, limits_of_second

PAPER = "Oksuz et al., Generating Positive Bounding Boxes for Balanced Training, WACV 2020, arXiv 1909.09777"
_CODE = "kemaloksuz/BoundingBoxGenerator, mmdet/core/bbox/samplers/bounding_box_generator.py"
_FULL = ("float32", "float64")
_TRIES = 8
_TRIES_OF_LAWS = 16
_REPETITIONS = 1000
_CLEAR = 1e-3
"""Between the IoU of a try and T: what float32 makes of keys and areas is far less."""
Function = Callable[..., Any]

# --- inputs ---------------------------------------------------------------------------------------------------


def references(draw: Draw) -> Case:
    """One to three boxes of unequal sides, each with its own T; no try is near the border of its region.

    In pixels, or in shares of an image, where no side is as long as 1.
    """
    case = _case(draw, draw.integer(1, 3))
    return case.with_arguments(boxes=case.arguments["boxes"] * draw.choice((1.0, 1.0, 2.0**-6)))


def no_reference(draw: Draw) -> Case:
    """No box."""
    return _case(draw, 0)


def without_area(draw: Draw) -> Case:
    """Boxes of which the first has no width or no height."""
    case = references(draw)
    boxes = case.arguments["boxes"].copy()
    axis = draw.choice((0, 1))
    boxes[0, 2 + axis] = boxes[0, axis]
    return case.with_arguments(boxes=boxes)


def coins_at_one_half(draw: Draw) -> Case:
    """Coins of exactly 1/2, or 0."""
    case = references(draw)
    coins = draw.array((len(case.arguments["boxes"]),), lambda: draw.choice((0.5, 0.0)))
    return case.with_arguments(coin_keys=coins)


def nothing_accepted(draw: Draw) -> Case:
    """No try of the first corner, or of the second, is accepted: the keys of the corners of the rectangles."""
    case = references(draw)
    return case.with_arguments(**dict.fromkeys(
        draw.choice((("first_keys",), ("second_keys",), ("first_keys", "second_keys"))),
        np.zeros(case.arguments["first_keys"].shape)))  # fmt: skip


def one_reference(draw: Draw) -> Case:
    """One box for the laws, far wider than high."""
    t = round_to("float32", np.array([draw.choice((0.5, 0.7))]))
    keys = np.zeros((1, _TRIES_OF_LAWS, 2))
    return Case({"boxes": np.array([[16.0, 32.0, 48.0, 40.0]]), "minimum_ious": t, "coin_keys": np.zeros(1),
                 "first_keys": keys, "second_keys": keys}, {}, draw.dtype(_FULL))  # fmt: skip


def _case(draw: Draw, number: int) -> Case:
    dtype = draw.dtype(_FULL)
    random = np.random.default_rng((draw.digit(), draw.digit()))
    corner = random.integers(-20, 60, (number, 2)) / 2.0
    boxes = np.concatenate([corner, corner + random.integers(4, 80, (number, 2)) / 2.0], axis=-1)
    t = round_to(dtype, draw.array((number,), lambda: draw.choice((0.5, 0.7, 0.6, 0.8, 0.9, 0.3))))
    coins = draw.array((number,), lambda: draw.choice((0.25, 0.75)))
    first, second = round_to(dtype, random.integers(1, 999, (2, number, _TRIES, 2)) / 1000.0)
    for i in range(number):
        first[i], second[i] = clear_of_the_border(float(t[i]), first[i], second[i])
    return Case({"boxes": boxes, "minimum_ious": t, "coin_keys": coins, "first_keys": first, "second_keys": second},
                {}, dtype)  # fmt: skip


def clear_of_the_border(t: float, first: Array, second: Array) -> tuple[Array, Array]:
    """Keys whose tries are near the border are made 0, which is never accepted."""
    tries = 1 - 1 / t + first * (1 / t - t)
    first = np.where(np.abs(best_iou_of_corner(tries) - t)[:, np.newaxis] < _CLEAR, 0.0, first)
    corner = oracle.box_in_unit_frame(t, 0.0, first, second)[:2]
    limit = limits_of_second(corner, np.asarray(t))
    ends = limit[:2] + second * (limit[2:] - limit[:2])
    iou = _iou_with_unit(np.concatenate([np.broadcast_to(corner, ends.shape), ends], axis=-1))
    return first, np.where(np.abs(iou - t)[:, np.newaxis] < _CLEAR, 0.0, second)


def _iou_with_unit(boxes: Array) -> Float:
    return aligned_iou(boxes, np.broadcast_to(np.array([0.0, 0.0, 1.0, 1.0]), boxes.shape))


# --- laws -----------------------------------------------------------------------------------------------------


def _many(bench: Bench, case: Case, seed: int) -> tuple[Case, Array]:
    """A thousand boxes around the one of a case, by fresh keys."""
    random = np.random.default_rng(seed)
    arguments = {name: np.concatenate([values] * _REPETITIONS) for name, values in case.arguments.items()}
    for name in ("coin_keys", "first_keys", "second_keys"):
        arguments[name] = random.random(arguments[name].shape, dtype=np.float32).astype(np.float64)
    many = case.with_arguments(**arguments)
    return many, np.asarray(bench.evaluate(many).outputs[0], dtype=np.float64)


def iou_reaches_the_minimum(bench: Bench, case: Case) -> None:
    """No box has an IoU below T, by more than its coordinates are rounded."""
    many, boxes = _many(bench, case, _seed(case))
    iou = aligned_iou(boxes, many.arguments["boxes"])
    lack = float((many.arguments["minimum_ious"] - iou).max(initial=0.0))
    slack = 640 * max(PRECISIONS[case.dtype].unit_roundoff, 2.0**-50)
    bench.expect(lack <= slack, f"a box has an IoU of {lack:.2g} less than asked for", case)


def law(counts: Callable[[Array, Array, float], Array], mass: Callable[[float], Float]) -> Check:
    """Counts of boxes [R, 4] around reference boxes [R, 4] follow a law, each of a T."""

    def check(bench: Bench, case: Case) -> None:
        t = float(case.arguments["minimum_ious"][0])

        def test(seed: int) -> Suspicion:
            many, boxes = _many(bench, case, seed)
            return categories(counts(boxes, many.arguments["boxes"], t), mass(t))

        bench.expect_distribution(case, test, _seed(case))

    return check


_LEVELS = np.array([0.0, 0.02, 0.05, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 1.0])


def _counts_of_iou(boxes: Array, reference: Array, t: float) -> Array:
    edges = t + (1 - t) * _LEVELS
    return np.histogram(np.clip(aligned_iou(boxes, reference), t, 1.0), edges)[0]


def _law_of_iou(t: float) -> Float:
    return -np.diff(generated_iou_survival(t + (1 - t) * _LEVELS, minimum_iou=t))


def _counts_of_sides(boxes: Array, reference: Array, _: float) -> Array:
    outside = np.concatenate([boxes[:, :2] < reference[:, :2], boxes[:, 2:] > reference[:, 2:]], axis=1)
    return np.bincount(outside @ np.array([8, 4, 2, 1]), minlength=16)


def _law_of_sides(t: float) -> Float:
    return generated_side_probabilities(t).ravel()


def _seed(case: Case) -> int:
    return zlib.crc32(case.arguments["boxes"].tobytes() + case.arguments["minimum_ious"].tobytes())


# --- mutants --------------------------------------------------------------------------------------------------

_RIGHT = oracle.generate_boxes


def _drawing(*, accept_first: Function | None = None, accept_second: Function | None = None,
             mirror: Function | None = None, otherwise: Function | None = None) -> Function:  # fmt: skip
    """A generator with another rule for a corner, another mirror, or another answer where no try is accepted."""
    accept_first = accept_first or (lambda tries, t: best_iou_of_corner(tries) >= t)
    accept_second = accept_second or (lambda boxes, t: _iou_with_unit(boxes) >= t)
    mirror = mirror or (lambda box, coin: box if coin < 0.5 else 1.0 - box[[2, 3, 0, 1]])
    otherwise = otherwise or (lambda _, corner: corner)

    def mutant(boxes: Array, minimum_ious: Array, coin_keys: Array, first_keys: Array, second_keys: Array) -> Any:  # noqa: ANN401
        drawn = np.array(_RIGHT(boxes, minimum_ious, coin_keys, first_keys, second_keys)[0])
        reference = np.asarray(boxes, dtype=np.float64)
        for i, box in enumerate(reference):
            t, size = float(minimum_ious[i]), box[2:] - box[:2]
            if (size > 0).all():
                tries = 1 - 1 / t + np.asarray(first_keys[i], dtype=np.float64) * (1 / t - t)
                corner = _first(tries, accept_first(tries, t), otherwise(tries, np.zeros(2)))
                limit = limits_of_second(corner, np.asarray(t))
                tries = limit[:2] + np.asarray(second_keys[i], dtype=np.float64) * (limit[2:] - limit[:2])
                pairs = np.concatenate([np.broadcast_to(corner, tries.shape), tries], axis=-1)
                other = _first(tries, accept_second(pairs, t), otherwise(tries, np.ones(2)))
                frame = mirror(np.concatenate([corner, other]), float(coin_keys[i]))
                drawn[i] = np.tile(box[:2], 2) + np.tile(size, 2) * frame
        return drawn, aligned_iou(drawn, reference)

    return _along_one_axis(mutant)


def _along_one_axis(function: Function) -> Function:
    """A mutant of boxes [N, 4], of boxes along any axes."""

    def mutant(boxes: Array, minimum_ious: Array, coin_keys: Array, first_keys: Array, second_keys: Array) -> Any:  # noqa: ANN401
        shape = np.shape(boxes)[:-1]
        first, second = (np.reshape(k, (-1, *np.shape(k)[-2:])) for k in (first_keys, second_keys))
        drawn, iou = function(boxes=np.reshape(boxes, (-1, 4)), minimum_ious=np.ravel(minimum_ious),
                              coin_keys=np.ravel(coin_keys), first_keys=first, second_keys=second)  # fmt: skip
        return drawn.reshape(*shape, 4), iou.reshape(shape)

    return mutant


def _first(tries: Array, accepted: Array, otherwise: Array) -> Array:
    return np.asarray(tries[np.argmax(accepted)] if np.any(accepted) else otherwise)


def _changed(change: Function) -> Function:
    """The right boxes, changed: of the box, the reference box and T."""

    def mutant(boxes: Array, minimum_ious: Array, **keys: Array) -> Any:  # noqa: ANN401
        right, _ = _RIGHT(boxes, minimum_ious, **keys)
        reference = np.asarray(boxes, dtype=np.float64)
        drawn = change(right, reference, np.asarray(minimum_ious, dtype=np.float64)[:, np.newaxis])
        return drawn, aligned_iou(drawn, reference)

    return _along_one_axis(mutant)


def _one_scale(box: Array, reference: Array, _: Array) -> Array:
    size = reference[:, 2:] - reference[:, :2]
    frame = (box - np.tile(reference[:, :2], 2)) / np.tile(np.where(size > 0, size, 1.0), 2)
    return np.where((size > 0).all(axis=1, keepdims=True), np.tile(reference[:, :2], 2) + size[:, :1] * frame, box)


def _leaning(box: Array, reference: Array, _: Array) -> Array:
    """Mirrored where it sticks out further to the right: with the same IoU."""
    left, right = reference[:, 0] - box[:, 0], box[:, 2] - reference[:, 2]
    flipped = box.copy()
    flipped[:, 0], flipped[:, 2] = reference[:, 0] - right, reference[:, 2] + left
    return np.where((right - left)[:, np.newaxis] > 0.0, flipped, box)


def _with_pixel(boxes: Array, **others: Array) -> Any:  # noqa: ANN401
    longer = np.asarray(boxes, dtype=np.float64) + np.array([0.0, 0.0, 1.0, 1.0])
    drawn, iou = _RIGHT(longer, **others)
    return drawn - np.array([0.0, 0.0, 1.0, 1.0]), iou


def _own_keys(function: Function) -> Function:
    """The same with random numbers of its own: only its laws can be judged."""

    def mutant(boxes: Array, minimum_ious: Array) -> Any:  # noqa: ANN401
        random = np.random.default_rng(len(boxes))
        keys = random.random((2, len(boxes), _TRIES_OF_LAWS, 2))
        return function(boxes=boxes, minimum_ious=minimum_ious, coin_keys=random.random(len(boxes)),
                        first_keys=keys[0], second_keys=keys[1])  # fmt: skip

    return mutant


def _nan_without_area(boxes: Array, **others: Array) -> Any:  # noqa: ANN401
    drawn, iou = _RIGHT(boxes, **others)
    size = np.asarray(boxes)[:, 2:] - np.asarray(boxes)[:, :2]
    return np.where(size.min(axis=1, keepdims=True) <= 0.0, np.nan, drawn), iou


def _first_row_of_tries(boxes: Array, first_keys: Array, **others: Any) -> Any:  # noqa: ANN401
    tries = np.asarray(first_keys)
    if tries.ndim > 3:
        tries = np.broadcast_to(tries[..., :1, :, :], tries.shape)
    return _RIGHT(boxes=boxes, first_keys=tries, **others)


_NO_REJECTION = _drawing(accept_second=lambda boxes, _: np.ones(len(boxes), bool))

MUTANTS = (
    Mutant("box-generator/no-rejection", "the second corner anywhere in its rectangle", _NO_REJECTION),
    Mutant("box-generator/no-rejection-of-the-first", "the first corner anywhere in its rectangle", _drawing(
        accept_first=lambda tries, _: (tries < 1).all(axis=1))),
    Mutant("box-generator/only-inside", "first corners inside the reference box only", _drawing(
        accept_first=lambda tries, t: (best_iou_of_corner(tries) >= t) & (tries >= 0).all(axis=1))),
    Mutant("box-generator/only-outside", "first corners outside only", _drawing(
        accept_first=lambda tries, t: (best_iou_of_corner(tries) >= t) & (tries < 0).all(axis=1))),
    Mutant("box-generator/no-coin", "always the top-left corner first", _drawing(
        mirror=lambda box, _: box)),
    Mutant("box-generator/one-axis", "one axis mirrored instead of both", _drawing(
        mirror=lambda box, coin: box if coin < 0.5 else np.array([1 - box[2], box[1], 1 - box[0], box[3]]))),
    Mutant("box-generator/coin-at-one-half", "a coin of 1/2 taken for the top-left corner; else the same", _drawing(
        mirror=lambda box, coin: box if coin <= 0.5 else 1.0 - box[[2, 3, 0, 1]])),
    Mutant("box-generator/last-try", "the last try where none is accepted", _drawing(
        otherwise=lambda tries, _: tries[-1])),
    Mutant("box-generator/one-scale", "the width as the scale of both axes", _changed(_one_scale)),
    Mutant("box-generator/jitter", "corners jittered, whatever the IoU", _changed(
        lambda box, ref, _: ref + (box - ref) * 1.5)),
    Mutant("box-generator/polygon-of-chords", "a region that reaches beyond the border", _drawing(
        accept_second=lambda boxes, t: _iou_with_unit(boxes) >= t - 0.02), seen_in="the authors' generator, far finer"),
    Mutant("box-generator/pixel", "boxes one pixel longer than they are", _with_pixel),
    Mutant("box-generator/clipped", "boxes cut at 0", _changed(lambda box, *_: np.maximum(box, 0.0))),
    Mutant("box-generator/nan-without-area", "NaN for a reference box without area; else the same",
           _along_one_axis(_nan_without_area)),
    Mutant("box-generator/no-rejection-own-keys", "no rejection, with random numbers of its own",
           _own_keys(_NO_REJECTION), draws_own_keys=True),
    Mutant("box-generator/leaning-own-keys", "boxes that lean to the left, with random numbers of its own",
           _own_keys(_changed(_leaning)), draws_own_keys=True),
    Mutant("box-generator/tight-own-keys", "boxes half as far from the reference box, with random numbers of its own",
           _own_keys(_changed(lambda box, ref, _: ref + (box - ref) / 2)), draws_own_keys=True),
    Mutant("box-generator/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "first_keys")),
    Mutant("box-generator/broadcast", "thresholds repeated for another number of boxes",
           _along_one_axis(mistakes.broadcasting(_RIGHT, "minimum_ious", "boxes"))),
    Mutant("box-generator/first-row-of-tries", "the tries of the first boxes for all along a second axis",
           _first_row_of_tries),
    Mutant("box-generator/raises-on-empty", "an error where there is no box", mistakes.failing_on_empty(
        _RIGHT, "boxes")),
)  # fmt: skip

# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by BOX-1; kept because a failure then names the law that is broken"
_KEY = "independent uniform random numbers in [0, 1)"


def _mirrored_and_not(case: Case) -> bool:
    return len({bool(coin < 0.5) for coin in case.arguments["coin_keys"]}) == 2


GENERATE_BOXES = Technique(
    id="generate_boxes",
    title="Bounding box generator",
    family="generative",
    summary="Random boxes whose IoU with a reference box is at least a threshold.",
    sources=(PAPER, _CODE),
    oracle=_RIGHT,
    arguments=(
        Argument("boxes", ("...", "4"), "float", "reference boxes, x1, y1, x2, y2"),
        Argument("minimum_ious", ("...",), "float", "T, strictly between 0 and 1"),
        Argument("coin_keys", ("...",), "float", _KEY, is_key=True),
        Argument("first_keys", ("...", "R", "2"), "float", f"{_KEY}, R tries of the first corner", is_key=True),
        Argument("second_keys", ("...", "R", "2"), "float", f"{_KEY}, R tries of the second corner", is_key=True),
    ),
    options=(),
    outputs=(
        Output("boxes", ("...", "4"), "float", "the boxes that were drawn"),
        Output("ious", ("...",), "float", "their IoU with the reference boxes"),
    ),
    requirements=(
        Requirement("BOX-1", Level.MUST, Kind.VALUE,
                    "The first accepted try of each corner counts, uniform in its rectangle.",
                    "algorithm 1; explicit keys are ours", value, references, dtypes=_FULL, needs_keys=True,
                    no_mutant="what is wrong here is wrong for a box without area or at a coin of 1/2 beside it, too",
                    reaches={"both corners come first": _mirrored_and_not}),
        Requirement("BOX-2", Level.MUST, Kind.BOUND, "No box has an IoU below T.", "algorithm 1",
                    iou_reaches_the_minimum, one_reference, dtypes=_FULL, examples=0.02,
                    no_mutant="a box below T is outside the law of IoU too; this one names it"),
        Requirement("BOX-3", Level.MUST, Kind.DISTRIBUTION, "The IoU follows the law of two uniform corners.",
                    "algorithm 1", law(_counts_of_iou, _law_of_iou), one_reference, dtypes=_FULL, examples=0.02),
        Requirement("BOX-4", Level.MUST, Kind.DISTRIBUTION,
                    "Each pattern of sides that stick out is as frequent as it must be.",
                    "algorithm 1", law(_counts_of_sides, _law_of_sides), one_reference, dtypes=_FULL, examples=0.02),
        Requirement("BOX-5", Level.MUST, Kind.TIES, "A coin of 1/2 draws the bottom-right corner first.",
                    "ruling coin", value, coins_at_one_half, dtypes=_FULL, needs_keys=True, examples=0.3),
        Requirement("BOX-6", Level.MUST, Kind.LIMIT,
                    "Where all tries are used up the corner is that of the reference box.",
                    "ruling tries", value, nothing_accepted, dtypes=_FULL, needs_keys=True, examples=0.3,
                    no_mutant="BOX-1 uses up its eight tries now and then; here they always are"),
        Requirement("BOX-7", Level.MUST, Kind.EMPTY, "No reference box, no box.", "house rule", value, no_reference,
                    dtypes=_FULL, needs_keys=True, examples=0.1),
        Requirement("BOX-8", Level.MUST, Kind.EMPTY, "A box without area is answered by itself, with IoU 0.",
                    "ruling degenerate", value, without_area, dtypes=_FULL, needs_keys=True, examples=0.3),
        Requirement("BOX-9", Level.MUST, Kind.BATCH, "Boxes do not see each other.", "algorithm 1",
                    batch_equals_per_image, references, dtypes=_FULL, needs_keys=True, examples=0.2,
                    no_mutant=_IMPLIED),
        Requirement("BOX-10", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal keys give equal boxes.",
                    "house rule", purity, references, dtypes=_FULL, needs_keys=True, examples=0.2),
        Requirement("BOX-11", Level.SHOULD, Kind.ERROR, "Thresholds of another number of boxes are refused.",
                    "house rule", refuses(bad_shape("minimum_ious")), references, dtypes=_FULL, needs_keys=True,
                    examples=0.2),
        Requirement("BOX-12", Level.SHOULD, Kind.BATCH, "Boxes lie along any number of axes, or along none.",
                    "shape (..., 4)", any_axes_of_images, references, dtypes=_FULL, needs_keys=True, examples=0.1),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("at-least", "The IoU is at least T, not T: histograms of both differ."),
        Ruling("coin", "Below 1/2 the top-left corner is drawn first, else the bottom-right."),
        Ruling("tries", "R tries a corner; if none is accepted, the corner of the reference box, which is feasible."),
        Ruling("degenerate", "No box has an IoU above 0 with a box without area: it comes back with IoU 0."),
        Ruling("clipping", "Boxes are not clipped to an image here; positive RoIs are."),
    ),
    not_applicable={
        Kind.GRADIENT: "boxes are data", Kind.DETACHED: "boxes are data", Kind.REDUCES_TO: "nothing simpler",
        Kind.INVARIANCE: "shifts and scales of the reference box are among the inputs of BOX-1",
        Kind.CONSERVATION: "conserves nothing", Kind.EXTREME: "keys are plain numbers in [0, 1)",
    },
)  # fmt: skip
