"""Contract of class-aware sampling: the order of the images of an epoch.

Shen, Lin, Huang, "Relay Backpropagation for Effective Learning of Deep Convolutional Neural Networks", ECCV 2016 (arXiv
1512.05830), section 4.1.
"""

from __future__ import annotations

import zlib
from itertools import permutations

import numpy as np

from steelyard.conformance.checking import Bench, bad_option, bad_shape, purity, refuses, same_as, value, without_axes
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
from steelyard.conformance.foreground_balance.class_aware_sampling_mutants import MUTANTS
from steelyard.conformance.generation import Draw
from steelyard.conformance.statistics import Suspicion, categories, uniform_keys
from steelyard.reference.foreground_balance import class_aware_sampling as oracle

_FULL = ("float32", "float64")
_CLASSES = 4
_PASSES = 1200
_KEYS = ("class_keys", "image_keys")
_SHEN = "Shen, Lin, Huang, Relay Backpropagation, ECCV 2016, arXiv 1512.05830, section 4.1"

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, labels: Array, passes: int, *, length: int | None = None, tied: bool = False) -> Case:
    """Keys are distinct fractions with 12 bits, or a few values."""
    each = draw.choice((1, 2))
    number = _CLASSES * passes * each + labels.size
    total = passes * _CLASSES + number
    if tied:
        keys = draw.array((total,), lambda: draw.choice((0.5, 0.0, 0.25)))
    else:
        keys = np.random.default_rng(draw.integer(0, 99)).permutation(4096)[:total] / 4096.0
    present = len(np.unique(labels[labels >= 0]))
    full = passes * each * present
    arguments = {
        "labels": labels,
        "class_keys": keys[: passes * _CLASSES].reshape(passes, _CLASSES),
        "image_keys": keys[passes * _CLASSES :],
    }
    options: dict[str, OptionValue] = {
        "num_classes": _CLASSES,
        "images_per_class": each,
        "epoch_length": min(length, full) if length is not None else full - min(draw.integer(0, 2), full),
    }
    if length is None and len(labels) <= full and draw.flag(20):
        options["epoch_length"] = None
    return Case(arguments, options, draw.dtype(_FULL))


def _labels(draw: Draw, objects: int) -> Array:
    """One to six images, the first of class 0; others have several classes, a class twice, or no object."""
    shape = (draw.integer(1, 6), objects)
    labels = draw.array(shape, lambda: float(draw.choice((0, 1, -1, 0, 2)))).astype(np.int64)
    labels[0, 0] = 0
    return labels


def small_data_sets(draw: Draw) -> Case:
    """Up to six images with up to three objects, one to five passes; the last class never occurs."""
    return _case(draw, _labels(draw, draw.integer(1, 3)), draw.integer(1, 5))


def equal_keys(draw: Draw) -> Case:
    """The same with keys of three values."""
    return _case(draw, _labels(draw, 2), draw.integer(1, 4), tied=True)


def one_class_an_image(draw: Draw) -> Case:
    """Images of one class each, so that an order shows the classes; whole passes."""
    case = _case(draw, _labels(draw, 1), draw.integer(2, 5))
    present = len(np.unique(case.arguments["labels"][case.arguments["labels"] >= 0]))
    passes = len(case.arguments["class_keys"])
    return case.with_options(epoch_length=passes * present * int(case.options["images_per_class"] or 1))


def one_class(draw: Draw) -> Case:
    """All images of one class, an epoch of one cycle."""
    images = draw.integer(1, 6)
    return _case(draw, np.full((images, 1), draw.integer(0, 2)), images, length=images)


def no_place(draw: Draw) -> Case:
    """An epoch without places, of a data set with or without images."""
    labels = draw.choice((np.zeros((0, 2), np.int64), np.full((2, 1), 1)))
    return _case(draw, labels, draw.integer(0, 1), length=0)


def distinguishable(draw: Draw) -> Case:
    """Class 0 has the images 0, 1, 2, classes 1 and 2 one each: passes and cycles can be read off the order."""
    labels = np.array([[0], [0], [0], [1], [2]])
    arguments = {"labels": labels, "class_keys": np.zeros((_PASSES, 3)), "image_keys": np.zeros(3 * _PASSES + 5)}
    options: dict[str, OptionValue] = {"num_classes": 3, "images_per_class": 1, "epoch_length": 3 * _PASSES}
    return Case(arguments, options, draw.dtype(_FULL))


def long_tail(seed: int) -> Case:
    """2,000 images of 60 classes whose frequencies follow a power law, with up to eight objects."""
    random = np.random.default_rng(seed)
    labels = (60 * random.power(0.3, (2_000, 8))).astype(np.int64)
    labels[random.random(labels.shape) < 0.4] = -1
    passes = 50
    arguments = {
        "labels": labels,
        "class_keys": uniform_keys((passes, 60), seed, np.float32).astype(np.float64),
        "image_keys": uniform_keys((60 * passes + labels.size,), seed + 1, np.float32).astype(np.float64),
    }
    options: dict[str, OptionValue] = {"num_classes": 60, "images_per_class": 1, "epoch_length": 2_000}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


def tied_keys(seed: int) -> Case:
    """The same with keys of eight values, so that long lists hold equal ones."""
    case = long_tail(seed)
    return case.with_arguments(**{name: np.floor(8.0 * case.arguments[name]) / 8.0 for name in _KEYS})


def _several_cycles(case: Case) -> bool:
    sizes = [(case.arguments["labels"] == c).any(axis=1).sum() for c in range(_CLASSES)]
    wanted = len(case.arguments["class_keys"]) * int(case.options["images_per_class"] or 1)
    return any(0 < 2 * size <= wanted for size in sizes)


def _several_classes(case: Case) -> bool:
    return any(len(set(row[row >= 0].tolist())) > 1 for row in case.arguments["labels"])


def _no_object(case: Case) -> bool:
    return bool((case.arguments["labels"] < 0).all(axis=1).any())


def objects_named_twice(case: Case) -> Case:
    """Every object once more; the further keys are left over."""
    labels, keys = case.arguments["labels"], case.arguments["image_keys"]
    return case.with_arguments(
        labels=np.concatenate([labels, labels], axis=1), image_keys=np.append(keys, np.zeros(labels.size))
    )


# --- laws -----------------------------------------------------------------------------------------------------


def passes_and_cycles(bench: Bench, case: Case) -> None:
    """Every class alike often in each pass, every image of a class before any of them again."""
    labels, each = case.arguments["labels"][:, 0], int(case.options["images_per_class"] or 1)
    present = np.unique(labels[labels >= 0])
    order = bench.evaluate(case).outputs[0].astype(np.int64)
    classes = labels[order]
    for part in classes.reshape(-1, len(present) * each):
        alike = all((part == c).sum() == each for c in present)
        bench.expect(alike, f"a pass has the classes {part.tolist()}, expected each {each} times", case)
    for c in present:
        drawn, images = order[classes == c], np.flatnonzero(labels == c)
        for begin in range(0, len(drawn), len(images)):
            cycle = drawn[begin : begin + len(images)]
            once = len(np.unique(cycle)) == len(cycle)
            bench.expect(once, f"class {c}: images {cycle.tolist()} in a cycle, expected each at most once", case)


def _shuffled(bench: Bench, case: Case) -> None:
    """Orders of the classes in the passes, and of the images in the cycles, are uniform."""

    def test(seed: int) -> Suspicion:
        keys = {
            "class_keys": uniform_keys((_PASSES, 3), seed, np.float32).astype(np.float64),
            "image_keys": uniform_keys((3 * _PASSES + 5,), seed + 10**6, np.float32).astype(np.float64),
        }
        order = bench.attempt(case.with_arguments(**keys)).outputs[0].astype(np.int64)
        passes = np.maximum(order - 2, 0).reshape(_PASSES, 3)
        found = [_orders(passes, "classes"), _orders(order[order <= 2][: _PASSES // 3 * 3].reshape(-1, 3), "images")]
        worst = min(found, key=lambda suspicion: suspicion.p_value)
        return Suspicion(min(1.0, 2.0 * worst.p_value), worst.sentence)

    bench.expect_distribution(case, test, zlib.crc32(case.dtype.encode()))


def _orders(rows: Array, what: str) -> Suspicion:
    names = {order: place for place, order in enumerate(permutations(range(3)))}
    tally = np.zeros(len(names))
    for row in rows.tolist():
        if tuple(row) not in names:
            return Suspicion(0.0, f"{what} {row} where each comes once")
        tally[names[tuple(row)]] += 1
    found = categories(tally, np.full(len(names), 1.0 / len(names)))
    return Suspicion(found.p_value, f"orders of the {what}, {found.sentence}")


# --- contract -------------------------------------------------------------------------------------------------

CLASS_AWARE_ORDER = Technique(
    id="class_aware_order",
    title="Class-aware sampling",
    family="foreground_balance",
    summary="The order of an epoch: classes in turn, and of each class its images in turn.",
    sources=(_SHEN, "mmdet's ClassAwareSampler (images per class, length of an epoch)"),
    oracle=oracle.class_aware_order,
    arguments=(
        Argument("labels", ("N", "M"), "int", "0..C-1 classes of an image's objects; -1 fills up"),
        Argument("class_keys", ("P", "C"), "float", "of P passes, uniform random numbers in [0, 1)", is_key=True),
        Argument("image_keys", ("CPs+NM",), "float", "class by class, P s + n_c for class c with n_c images",
                 is_key=True),
    ),
    options=(
        Option("num_classes", 80, "C"),
        Option("images_per_class", 1, "s, images of a class in a pass"),
        Option("epoch_length", None, "None: as many as images"),
    ),
    outputs=(Output("order", ("L",), "int", "numbers of images"),),
    requirements=(
        Requirement("CAS-1", Level.MUST, Kind.VALUE, "Classes by their keys, images of each by theirs, pass by pass.",
                    "section 4.1; explicit keys are ours", value, small_data_sets, scenes=(long_tail,), dtypes=_FULL,
                    needs_keys=True,
                    reaches={"a class begins another cycle": _several_cycles,
                             "an image with several classes": _several_classes,
                             "an image without objects": _no_object,
                             "as many places as images": lambda c: c.options["epoch_length"] is None},
                    no_mutant="what is wrong is wrong with equal keys too; this names the ordinary case"),
        Requirement("CAS-2", Level.MUST, Kind.TIES, "Of equal keys the first comes first.", "house rule", value,
                    equal_keys, scenes=(tied_keys,), dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("CAS-3", Level.MUST, Kind.CONSERVATION,
                    "Every pass has each class alike often; no image comes again before all of its class did.",
                    "section 4.1", passes_and_cycles, one_class_an_image, dtypes=_FULL, examples=0.5,
                    no_mutant="implied by CAS-1 for those that take keys; the law for those that do not"),
        Requirement("CAS-4", Level.MUST, Kind.DISTRIBUTION,
                    "Orders of classes and of images are uniform, and new for every pass and cycle.", "section 4.1",
                    _shuffled, distinguishable, dtypes=_FULL, examples=0.02),
        Requirement("CAS-5", Level.MUST, Kind.REDUCES_TO, "With one class an epoch is a shuffle.", "section 4.1",
                    value, one_class, dtypes=_FULL, needs_keys=True, examples=0.3,
                    no_mutant="implied by CAS-1; names the law"),
        Requirement("CAS-6", Level.MUST, Kind.EMPTY, "No place, no image.", "house rule", value, no_place, dtypes=_FULL,
                    needs_keys=True, examples=0.2),
        Requirement("CAS-7", Level.MUST, Kind.INVARIANCE, "An image has a class once, however often it is named.",
                    "ruling once", same_as(objects_named_twice, "order with every object twice"), small_data_sets,
                    dtypes=_FULL, needs_keys=True, examples=0.3, no_mutant="implied by CAS-1; names the law"),
        Requirement("CAS-8", Level.MUST, Kind.PURITY, "The inputs are not written to; equal keys give equal orders.",
                    "house rule", purity, small_data_sets, dtypes=_FULL, needs_keys=True, examples=0.3),
        Requirement("CAS-9", Level.SHOULD, Kind.ERROR, "Keys of another number are refused.", "house rule",
                    refuses(bad_shape("image_keys"), without_axes("labels")), small_data_sets, dtypes=_FULL,
                    needs_keys=True, examples=0.1),
        Requirement("CAS-10", Level.MAY, Kind.ERROR, "Less than one image a class is refused.", "house rule",
                    refuses(bad_option("images_per_class", 0)), small_data_sets, dtypes=_FULL, needs_keys=True,
                    examples=0.1),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("once", "An image is in the list of each of its classes once, and in none without objects; nothing keeps"
               " it from coming for two classes in succession."),
        Ruling("stream", "The lists go on from pass to pass: they are shuffled anew only when they are used up."),
    ),
    not_applicable={
        Kind.GRADIENT: "a schedule has no gradient", Kind.DETACHED: "a schedule has no gradient",
        Kind.BATCH: "a data set is the unit", Kind.EXTREME: "keys are plain numbers", Kind.LIMIT: "no limit",
        Kind.BOUND: "CAS-3 bounds how often a class and an image come",
    },
)  # fmt: skip
