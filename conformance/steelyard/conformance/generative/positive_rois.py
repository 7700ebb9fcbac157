"""Contracts of what the positive RoI generator decides before it draws: slots of objects, quotas of bins, IoUs asked.

Oksuz, Cam, Akbas, Kalkan, "Generating Positive Bounding Boxes for Balanced Training of Object Detectors", WACV 2020
(arXiv 1909.09777), algorithm 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
    Bench,
    any_axes_of_images,
    bad_option,
    bad_shape,
    purity,
    refuses,
    same_as,
    value,
    without_axes,
)
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
from steelyard.conformance.generation import Draw
from steelyard.conformance.generative.box_generator import PAPER
from steelyard.conformance.precision import round_to
from steelyard.reference.generative import positive_rois as oracle

CODE = "kemaloksuz/BoundingBoxGenerator, mmdet/core/bbox/samplers/pRoI_generator.py"
_FULL = ("float32", "float64")
_CLASSES = 3
Function = Callable[..., Any]

# --- inputs ---------------------------------------------------------------------------------------------------


def objects(draw: Draw) -> Case:
    """One or two images of up to seven objects, some of them background or ignored."""
    shape = (draw.integer(1, 2), draw.integer(1, 7))
    labels = draw.array(shape, lambda: float(draw.choice((0, 0, 1, _CLASSES, 2, -1, 0)))).astype(np.int64)
    return Case({"labels": labels}, {"num_classes": _CLASSES, "num_rois": draw.choice((8, 5, 1, 0, 32))})


def no_object(draw: Draw) -> Case:
    """No object, or none that is foreground."""
    labels = np.full((draw.integer(1, 2), draw.choice((0, 3))), draw.choice((_CLASSES, -1)))
    return Case({"labels": labels}, {"num_classes": _CLASSES, "num_rois": 8})


def _two_sizes(case: Case) -> bool:
    return any(len({(image == c).sum() for c in range(_CLASSES)} - {0}) > 1 for image in case.arguments["labels"])


def bins(draw: Draw) -> Case:
    """Whole weights of up to six bins, of which some are 0; their quotas are often tied."""
    weights = _weights(draw, draw.integer(1, 6))
    return Case({"weights": weights}, {"num_rois": draw.choice((8, 5, 1, 33))}, draw.dtype(_FULL))


def _weights(draw: Draw, number: int) -> Array:
    """Whole weights, not all 0."""
    weights = draw.array((number,), lambda: float(draw.choice((1, 2, 3, 0, 7))))
    weights[draw.integer(0, number - 1)] += 1.0
    return weights


def no_roi_of_bins(draw: Draw) -> Case:
    """No box to be divided."""
    return bins(draw).with_options(num_rois=0)


def requests(draw: Draw) -> Case:
    """Up to two images of up to nine boxes; no key is near the border of a bin, no two keys are equal."""
    number, shape = draw.integer(1, 5), (draw.integer(1, 2), draw.integer(1, 9))
    dtype = draw.dtype(_FULL)
    weights = _weights(draw, number)
    random = np.random.default_rng((draw.digit(), draw.digit()))
    total = int(weights.sum())
    place = np.stack([random.permutation(16 * total)[: shape[1]] if 16 * total >= shape[1] else
                      np.arange(shape[1]) for _ in range(shape[0])])  # fmt: skip
    keys = round_to(dtype, np.minimum((place + 0.5) / (16 * total), 0.99))
    positions = round_to(dtype, random.integers(0, 100, shape) / 100.0)
    edges = round_to(dtype, np.linspace(0.5, 1.0, number + 1) if draw.flag(70) else 0.9 ** np.arange(number, -1, -1))
    return Case({"bin_edges": edges, "weights": weights, "bin_keys": keys, "position_keys": positions},
                {"allocation": draw.choice(oracle.ALLOCATIONS), "highest": draw.choice((0.95, 0.75))},
                dtype)  # fmt: skip


def keys_on_the_border(draw: Draw) -> Case:
    """Keys where one bin ends and the next begins, in quarters; or equal keys, whose ranks are those of their order."""
    case = requests(draw)
    shape = case.arguments["bin_keys"].shape
    return Case({**case.arguments, "bin_edges": np.array([0.5, 0.625, 0.75, 0.875]), "weights": np.array([1.0, 1, 2]),
                 "bin_keys": draw.array(shape, lambda: draw.choice((0.25, 0.5, 0.0, 0.75)))},
                case.options, case.dtype)  # fmt: skip


def many_equal_keys(seed: int) -> Case:
    """Two images of 256 boxes with keys of eight values and quotas: a sort of so many that is not stable shows."""
    random = np.random.default_rng(seed)
    arguments = {
        "bin_edges": np.array([0.5, 0.625, 0.75, 0.875]), "weights": np.array([1.0, 1.0, 2.0]),
        "bin_keys": random.integers(0, 8, (2, 256)) / 8.0, "position_keys": random.integers(0, 64, (2, 256)) / 64.0,
    }  # fmt: skip
    return Case(arguments, {"allocation": "quota", "highest": 0.95}, "float32", origin=f"scene {seed}")


def requests_along_other_axes(draw: Draw) -> Case:
    """Images along two axes, or one image without an axis."""
    case = requests(draw)
    place = draw.choice((np.newaxis, 0))
    return case.with_arguments(**{name: case.arguments[name][place].copy() for name in ("bin_keys", "position_keys")})


def no_request(draw: Draw) -> Case:
    """No box."""
    case = requests(draw)
    return case.with_arguments(**{name: case.arguments[name][:, :0] for name in ("bin_keys", "position_keys")})


def _weightless_bin(case: Case) -> bool:
    return bool((case.arguments["weights"] == 0).any())


def exact_numbers(bench: Bench, case: Case) -> None:
    """With quotas, each image has as many requests in each bin as its quota says."""
    special = case.with_options(allocation="quota", highest=0.999)
    edges, positions = special.arguments["bin_edges"], special.arguments["position_keys"]
    special = special.with_arguments(position_keys=np.full(positions.shape, 0.5))
    asked = bench.evaluate(special).outputs[0]
    quota = oracle.iou_bin_quotas(special.arguments["weights"], num_rois=positions.shape[-1])
    for number, image in enumerate(asked):
        found = np.histogram(image, edges)[0].tolist()
        bench.expect(found == quota.tolist(), f"image {number}: {found} boxes in the bins, expected {quota.tolist()}",
                     special)  # fmt: skip


def reversed_requests(case: Case) -> Case:
    """Boxes, with their keys, in reverse."""
    names = ("bin_keys", "position_keys")
    return case.with_arguments(**{name: case.arguments[name][:, ::-1].copy() for name in names})


# --- mutants --------------------------------------------------------------------------------------------------

_SLOTS, _QUOTAS, _ASKED = oracle.instance_slots, oracle.iou_bin_quotas, oracle.requested_ious


@dataclass(frozen=True)
class Sharing:
    """What an object has to share: n, the classes present, the objects of its class, and all."""

    n: int
    classes: int
    of_class: int
    objects: int


def _slots_by(rule: Callable[[Sharing], int], *, background: bool = False) -> Function:
    """Slots of an object by another rule."""

    def mutant(labels: Array, *, num_classes: int, num_rois: int) -> Array:
        labels = np.asarray(labels)
        slots = _SLOTS(labels, num_classes=num_classes, num_rois=num_rois)
        for image in np.ndindex(labels.shape[:-1]):
            label = labels[image]
            members = (label >= 0) & (label < num_classes + background)
            present = len(np.unique(label[members]))
            for i in np.flatnonzero(members):
                sharing = Sharing(num_rois, present, int((label == label[i]).sum()), int(members.sum()))
                slots[image][i] = rule(sharing)
        return slots

    return mutant


def _up(number: int, parts: int) -> int:
    return -(-number // parts)


def _slots_of_the_batch(labels: Array, **options: Any) -> Array:  # noqa: ANN401
    return _SLOTS(np.ravel(labels), **options).reshape(np.shape(labels))


SLOT_MUTANTS = (
    Mutant("roi-slots/by-instance", "the same for every object, whatever its class", _slots_by(
        lambda s: _up(s.n, s.objects))),
    Mutant("roi-slots/floor", "both quotients rounded down: too few boxes", _slots_by(
        lambda s: s.n // s.classes // s.of_class)),
    Mutant("roi-slots/floor-of-class", "the class's number rounded down", _slots_by(
        lambda s: _up(s.n // s.classes, s.of_class))),
    Mutant("roi-slots/class-whole", "the class's number for each of its objects", _slots_by(
        lambda s: _up(s.n, s.classes))),
    Mutant("roi-slots/background", "background counted as one more class", _slots_by(
        lambda s: _up(_up(s.n, s.classes), s.of_class), background=True)),
    Mutant("roi-slots/batch", "classes and objects of the whole batch", _slots_of_the_batch),
    Mutant("roi-slots/in-place", "its inputs overwritten", mistakes.overwriting(_SLOTS, "labels")),
    Mutant("roi-slots/unchecked", "no check of its options", mistakes.unchecked(_SLOTS, num_rois=lambda n: max(n, 0))),
    Mutant("roi-slots/axes", "a number taken for a list", lambda labels, **o: _SLOTS(np.atleast_1d(labels), **o)),
    Mutant("roi-slots/raises-on-empty", "an error without objects", mistakes.failing_on_empty(_SLOTS, "labels")),
    Mutant("roi-slots/one-axis-of-images", "images along two axes taken for those of the first",
           mistakes.images_along_one_axis(_SLOTS, "labels")),
)  # fmt: skip


def _quotas_by(rule: Callable[[Array, int], Array]) -> Function:
    """Quotas by another rule, of shares and n."""

    def mutant(weights: Array, *, num_rois: int) -> Array:
        _QUOTAS(weights, num_rois=num_rois)
        share = num_rois * np.asarray(weights, dtype=np.float64) / np.sum(weights, dtype=np.float64)
        return np.asarray(rule(share, num_rois)).astype(np.int64)

    return mutant


def _last_first(share: Array, n: int) -> Array:
    quota = np.floor(share)
    order = np.argsort(-(share - quota)[::-1], kind="stable")
    quota[len(quota) - 1 - order[: n - int(quota.sum())]] += 1
    return quota


def _rest_to_the_first(share: Array, n: int) -> Array:
    quota = np.floor(share)
    quota[0] += n - quota.sum()
    return quota


QUOTA_MUTANTS = (
    Mutant("bin-quotas/floor", "rounded down: too few boxes", _quotas_by(lambda share, _: np.floor(share))),
    Mutant("bin-quotas/rounded", "each rounded for itself", _quotas_by(lambda share, _: np.rint(share))),
    Mutant("bin-quotas/last-of-equal", "of equal remainders the last; else the same", _quotas_by(_last_first)),
    Mutant("bin-quotas/rest-to-the-first", "what is missing given to the first bin", _quotas_by(_rest_to_the_first)),
    Mutant("bin-quotas/not-normalised", "weights taken for shares", lambda weights, *, num_rois: np.floor(
        num_rois * np.minimum(weights, 1.0)).astype(np.int64)),
    Mutant("bin-quotas/in-place", "its inputs overwritten", mistakes.overwriting(_QUOTAS, "weights")),
    Mutant("bin-quotas/unchecked", "no check of its options", mistakes.unchecked(
        _QUOTAS, num_rois=lambda n: max(n, 0))),
    Mutant("bin-quotas/at-least-one", "a box of no boxes", lambda weights, *, num_rois: _QUOTAS(
        weights, num_rois=num_rois or 1)),
    Mutant("bin-quotas/axes", "a number taken for a list", lambda weights, **o: _QUOTAS(
        np.atleast_1d(weights) + (np.ndim(weights) == 0), **o)),
)  # fmt: skip


def _asked_of(change: Callable[..., dict[str, Any]]) -> Function:
    """The right request of changed inputs."""

    def mutant(**k: Any) -> Array:  # noqa: ANN401
        return _ASKED(**{**k, **change(**k)})

    return mutant


def _swapped(bin_edges: Array, weights: Array, **others: Any) -> Array:  # noqa: ANN401
    low = np.asarray(bin_edges, dtype=np.float64)[:-1]
    return _ASKED(bin_edges, low, **others)


def _shifted_key(keys: Array) -> Array:
    """The largest key below each: what a comparison with < instead of <= sees."""
    return np.maximum(np.asarray(keys, dtype=np.float64) - 2.0**-40, 0.0)


def _one_axis(bin_keys: Array, position_keys: Array, **others: Any) -> Array:  # noqa: ANN401
    """Quotas of all images of the first axis together."""
    keys, positions = (np.reshape(k, (len(k), -1)) if np.ndim(k) > 2 else k for k in (bin_keys, position_keys))
    return _ASKED(bin_keys=keys, position_keys=positions, **others).reshape(np.shape(bin_keys))


REQUEST_MUTANTS = (
    Mutant("requested-iou/swapped", "the lower ends of the bins taken for the weights", _swapped,
           seen_in="the defaults of the authors' BoxSampler, weights and bases exchanged"),
    Mutant("requested-iou/top-of-the-last-bin", "the last bin ends at the highest IoU", _asked_of(
        lambda bin_edges, highest, **_: {"bin_edges": np.append(
            bin_edges[:-1], max(min(bin_edges[-1], highest), bin_edges[-2] + 1e-3))})),
    Mutant("requested-iou/lower-end", "the lower end of the bin", _asked_of(
        lambda position_keys, **_: {"position_keys": np.zeros(np.shape(position_keys))})),
    Mutant("requested-iou/uncut", "no highest IoU", _asked_of(lambda **_: {"highest": 1.0 - 2.0**-50})),
    Mutant("requested-iou/equal-bins", "all bins alike", _asked_of(
        lambda weights, **_: {"weights": np.ones(np.shape(weights))})),
    Mutant("requested-iou/always-random", "random numbers of the bins, never quotas", _asked_of(
        lambda **_: {"allocation": "random"})),
    Mutant("requested-iou/border", "a key on the border belongs to the bin below; else the same", _asked_of(
        lambda bin_keys, **_: {"bin_keys": _shifted_key(bin_keys)})),
    Mutant("requested-iou/in-place", "its inputs overwritten", mistakes.overwriting(_ASKED, "position_keys")),
    Mutant("requested-iou/unchecked", "any allocation taken for a random one", mistakes.unchecked(
        _ASKED, allocation=lambda name: name if name in oracle.ALLOCATIONS else "random")),
    Mutant("requested-iou/broadcast", "positions repeated for another number of images", mistakes.broadcasting(
        _ASKED, "position_keys", "bin_keys")),
    Mutant("requested-iou/raises-on-empty", "an error where there is no box", mistakes.failing_on_empty(
        _ASKED, "bin_keys")),
    Mutant("requested-iou/one-axis-of-images", "images along two axes taken for those of the first", _one_axis),
)  # fmt: skip

# --- contracts ------------------------------------------------------------------------------------------------

_NO_GRADIENT = {
    Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient", Kind.LIMIT: "no limit",
    Kind.REDUCES_TO: "nothing simpler", Kind.EXTREME: "small plain numbers",
}  # fmt: skip
_SUM = "what is missing is missing in the values too"

INSTANCE_SLOTS = Technique(
    id="instance_slots",
    title="Slots of the positive RoI generator",
    family="generative",
    summary="How many boxes each object is to have: alike for the classes of an image, then for the objects of each.",
    sources=(PAPER, CODE),
    oracle=_SLOTS,
    arguments=(Argument("labels", ("...", "M"), "int", "0..C-1 foreground, C background, -1 ignore"),),
    options=(Option("num_classes", 80, "C"), Option("num_rois", 8, "boxes of an image")),
    outputs=(Output("slots", ("...", "M"), "int", "boxes of each object, before the surplus is dropped"),),
    requirements=(
        Requirement("SLOT-1", Level.MUST, Kind.VALUE, "The boxes are divided by classes, then by objects, rounded up.",
                    "algorithm 2", value, objects, reaches={"classes of two sizes": _two_sizes},
                    no_mutant="a wrong number is wrong along other axes too, as SLOT-7 sees"),
        Requirement("SLOT-2", Level.MUST, Kind.EMPTY, "An image without an object has no slot.", "ruling no-object",
                    value, no_object, examples=0.2),
        Requirement("SLOT-3", Level.MUST, Kind.INVARIANCE, "Objects in another order have their slots in that order.",
                    "algorithm 2", same_as(lambda case: case.with_arguments(
                        labels=case.arguments["labels"][:, ::-1].copy()), "slots of reversed objects",
                        lambda slots, _: slots[:, ::-1]), objects, examples=0.2,
                    no_mutant="implied by SLOT-1; names the law"),
        Requirement("SLOT-4", Level.MUST, Kind.PURITY, "The input is not written to, and equal calls agree.",
                    "house rule", purity, objects, examples=0.2),
        Requirement("SLOT-5", Level.SHOULD, Kind.ERROR, "Labels without axes are refused.", "house rule",
                    refuses(without_axes("labels")), objects, examples=0.1),
        Requirement("SLOT-6", Level.MAY, Kind.ERROR, "A negative number of boxes is refused.", "house rule",
                    refuses(bad_option("num_rois", -1)), objects, examples=0.1),
        Requirement("SLOT-7", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., M)", any_axes_of_images, objects, examples=0.2),
    ),
    mutants=SLOT_MUTANTS,
    rulings=(Ruling("no-object", "Without an object there is nothing to generate; the authors' code divides by 0."),),
    not_applicable={
        **_NO_GRADIENT, Kind.DISTRIBUTION: "not random", Kind.TIES: "no comparison", Kind.CONSERVATION: _SUM,
        Kind.BOUND: "SLOT-1: sums of quotients rounded up",
    },
)  # fmt: skip

IOU_BIN_QUOTAS = Technique(
    id="iou_bin_quotas",
    title="Quotas of bins of IoU",
    family="generative",
    summary="How many boxes each bin of IoU has, in proportion to its weight, by largest remainders.",
    sources=(PAPER, "The method of Hamilton, of largest remainders"),
    oracle=_QUOTAS,
    arguments=(Argument("weights", ("J",), "float", "of the bins, >= 0, not all 0"),),
    options=(Option("num_rois", 8, "boxes of all bins"),),
    outputs=(Output("quotas", ("J",), "int", "boxes of each bin"),),
    requirements=(
        Requirement("QUOTA-1", Level.MUST, Kind.VALUE, "Largest remainders round up; of equal ones the first.",
                    "ruling remainders", value, bins, dtypes=_FULL),
        Requirement("QUOTA-2", Level.MUST, Kind.EMPTY, "No box, no quota.", "house rule", value, no_roi_of_bins,
                    dtypes=_FULL, examples=0.1),
        Requirement("QUOTA-3", Level.MUST, Kind.PURITY, "The input is not written to, and equal calls agree.",
                    "house rule", purity, bins, dtypes=_FULL, examples=0.2),
        Requirement("QUOTA-4", Level.SHOULD, Kind.ERROR, "Weights without axes are refused.", "house rule",
                    refuses(without_axes("weights")), bins, dtypes=_FULL, examples=0.1),
        Requirement("QUOTA-5", Level.MAY, Kind.ERROR, "A negative number of boxes is refused.", "house rule",
                    refuses(bad_option("num_rois", -1)), bins, dtypes=_FULL, examples=0.1),
    ),
    mutants=QUOTA_MUTANTS,
    rulings=(Ruling("remainders", "Each bin has its share rounded down; what is missing goes to the largest"
                    " remainders, one each, of equal ones to the first. Weights need not add up to 1."),),
    not_applicable={
        **_NO_GRADIENT, Kind.DISTRIBUTION: "not random", Kind.TIES: "whole weights tie often in QUOTA-1",
        Kind.CONSERVATION: _SUM, Kind.INVARIANCE: "ties go by the order of the bins",
        Kind.BOUND: "QUOTA-1: within one of the share", Kind.BATCH: "one set of bins",
    },
)  # fmt: skip

REQUESTED_IOUS = Technique(
    id="requested_ious",
    title="IoUs asked of positive RoIs",
    family="generative",
    summary="The IoU asked of each box: a bin in proportion to its weight, then a uniform place in it.",
    sources=(PAPER, CODE),
    oracle=_ASKED,
    arguments=(
        Argument("bin_edges", ("J + 1",), "float", "increasing, in (0, 1]",
                 domain=lambda moved, _: np.minimum(moved, 1.0)),
        Argument("weights", ("J",), "float", "of the bins, >= 0, not all 0",
                 domain=lambda _, case: case.arguments["weights"]),  # decides a bin, moves nothing inside it
        Argument("bin_keys", ("...", "n"), "float", "uniform random numbers in [0, 1)", is_key=True,
                 domain=lambda _, case: case.arguments["bin_keys"]),
        Argument("position_keys", ("...", "n"), "float", "uniform random numbers in [0, 1)", is_key=True),
    ),
    options=(
        Option("allocation", "random", f"one of {', '.join(oracle.ALLOCATIONS)}"),
        Option("highest", 0.95, "highest IoU that is asked for"),
    ),
    outputs=(Output("ious", ("...", "n"), "float", "T"),),
    requirements=(
        Requirement("ASK-1", Level.MUST, Kind.VALUE, "A bin by its weight or quota, a uniform place in it, cut.",
                    "algorithm 2; quotas are ours", value, requests, dtypes=_FULL, needs_keys=True,
                    reaches={"a bin of weight 0": _weightless_bin},
                    no_mutant="a wrong bin or place is wrong along other axes too, as ASK-9 sees"),
        Requirement("ASK-2", Level.MUST, Kind.TIES, "A key on the border belongs to the bin above; equal keys rank in"
                    " their order.", "ruling border", value, keys_on_the_border, scenes=(many_equal_keys,),
                    dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("ASK-3", Level.MUST, Kind.CONSERVATION, "With quotas each bin has exactly its number of boxes.",
                    "ruling quotas", exact_numbers, requests, dtypes=_FULL, needs_keys=True, options=("allocation",),
                    examples=0.3, no_mutant="implied by ASK-1; names the law"),
        Requirement("ASK-4", Level.MUST, Kind.EMPTY, "No box, no request.", "house rule", value, no_request,
                    dtypes=_FULL, needs_keys=True, examples=0.1),
        Requirement("ASK-5", Level.MUST, Kind.INVARIANCE, "Boxes in another order have their IoUs in that order.",
                    "explicit keys", same_as(reversed_requests, "IoUs of reversed boxes", lambda o, _: o[:, ::-1]),
                    requests, dtypes=_FULL, needs_keys=True, examples=0.2,
                    no_mutant="implied by ASK-1; names the law"),
        Requirement("ASK-6", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal keys agree.",
                    "house rule", purity, requests, dtypes=_FULL, needs_keys=True, examples=0.2),
        Requirement("ASK-7", Level.SHOULD, Kind.ERROR, "Keys of another number of images are refused.", "house rule",
                    refuses(bad_shape("position_keys")), requests, dtypes=_FULL, needs_keys=True, examples=0.1),
        Requirement("ASK-8", Level.MAY, Kind.ERROR, "An unknown allocation is refused.", "house rule",
                    refuses(bad_option("allocation", "all")), requests, dtypes=_FULL, examples=0.1),
        Requirement("ASK-9", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., n)", value, requests_along_other_axes, dtypes=_FULL, needs_keys=True, examples=0.3),
    ),
    mutants=REQUEST_MUTANTS,
    rulings=(
        Ruling("weights", "Weights need not add up to 1: published ones add up to 1.05."),
        Ruling("last-bin", "The last bin ends at 1 and what is above the highest IoU is cut, not spread."),
        Ruling("border", "A key where a bin ends belongs to the next that has a weight."),
        Ruling("quotas", "With quotas the numbers of the bins are exact, and which boxes have them is random."),
    ),
    not_applicable={
        **_NO_GRADIENT, Kind.DISTRIBUTION: "one uniform key each: ASK-1 compares what they decide",
        Kind.BOUND: "ASK-1: cut at the highest",
    },
)  # fmt: skip
