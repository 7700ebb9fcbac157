"""Contract of IoU-balanced negative sampling.

Pang et al., "Libra R-CNN", CVPR 2019 (arXiv 1904.02701), section 3.1.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from steelyard.conformance.checking import (
    any_axes_of_images,
    bad_option,
    bad_shape,
    batch_equals_per_image,
    padding,
    purity,
    reduces_to,
    refuses,
    same_as,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Dialect,
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
from steelyard.conformance.hard_sampling.draw_laws import (
    certainties,
    counts,
    frequencies,
    hypergeometric,
    numbers_in_group,
)
from steelyard.conformance.hard_sampling.iou_balanced_mutants import MUTANTS
from steelyard.conformance.hard_sampling.real_proposals import REAL_CLASSES, keys_with_ties, real_candidates
from steelyard.conformance.precision import Float
from steelyard.conformance.soft_sampling.focal_inputs import option
from steelyard.reference.hard_sampling import iou_balanced_sampling as oracle
from steelyard.reference.hard_sampling.keyed_draws import smallest_keys

_FULL = ("float32", "float64")
_CLASSES = 3
_UPPER: tuple[str | float, ...] = ("all", "negatives", 0.5, "all")
_LEVELS = (0.0625, 0.25, 0.4375)
"""One IoU in each of three bins that begin at 0 and end at 0.4375 or 0.5: in every dialect."""
_DEFAULTS: dict[str, OptionValue] = {
    "num_classes": _CLASSES, "num_bins": 3, "floor_iou": None, "floor_fraction": 0.0, "upper": "all",
}  # fmt: skip

# --- inputs: IoUs are multiples of 1/256, exact in every format ---------------------------------------------------


def _options(draw: Draw) -> dict[str, OptionValue]:
    return {
        "num_classes": _CLASSES,
        "num_bins": draw.choice((3, 2, 1, 4, 5)),
        "floor_iou": draw.choice((None, None, 0.0, 0.125)),
        "floor_fraction": draw.choice((0.0, 0.5, 0.0, 0.3, 1.0)),
        "upper": draw.choice(_UPPER),
    }


def _keys(draw: Draw, shape: tuple[int, ...]) -> Array:
    """No two of an image equal."""
    return np.argsort(draw.array(shape, draw.fraction), axis=-1, kind="stable") / 64.0


def distinct_keys(draw: Draw) -> Case:
    """One to three images of up to twelve candidates, negatives mostly; no IoU near an inner edge of the bins."""
    shape = (draw.integer(1, 3), draw.integer(1, 12))
    labels = draw.array(shape, lambda: float(draw.choice((_CLASSES, _CLASSES, _CLASSES, 0, _CLASSES, 2, -1))))
    iou = draw.array(shape, lambda: draw.choice((0, 1, 2, 3, 4, 5, 6, 7)) / 16.0)
    iou = np.where((labels >= 0) & (labels < _CLASSES), 0.5 + iou, iou)
    arguments = {
        "labels": labels.astype(np.int64), "max_iou": iou, "num_negatives": draw.integers(shape[:1], 0, 8),
        "keys": _keys(draw, shape), "fill_keys": _keys(draw, shape),
    }  # fmt: skip
    return _clear_of_edges(Case(arguments, _options(draw), draw.dtype()))


def _clear_of_edges(case: Case) -> Case:
    iou = case.arguments["max_iou"].copy()
    for image, labels in zip(iou, case.arguments["labels"], strict=True):  # a row of iou is a view of it
        a = option(case, "floor_iou") if case.options["floor_iou"] else 0.0
        b = _upper_edge(case, image, labels)
        if b > a:
            inner = a + (b - a) * np.arange(1, option(case, "num_bins")) / option(case, "num_bins")
            image[np.isclose(image[:, None], inner).any(axis=1)] += 1 / 256
    return case.with_arguments(max_iou=iou)


def _upper_edge(case: Case, iou: Array, labels: Array) -> float:
    if case.options["upper"] == "negatives":
        return float(np.max(iou, where=labels == _CLASSES, initial=0.0))
    return float(np.max(iou)) if case.options["upper"] == "all" else option(case, "upper")


def equal_keys(draw: Draw) -> Case:
    """The same with few different keys."""
    case = distinct_keys(draw)
    coarse = {name: np.floor(case.arguments[name] * 16.0) / 16.0 for name in ("keys", "fill_keys")}
    return case.with_arguments(**coarse)


def on_the_edges(draw: Draw) -> Case:
    """A positive of IoU 0.75 ends the bins; negatives lie on their edges, 1/4 and 1/2, or 3/8, and between."""
    size = draw.integer(2, 9)
    iou = draw.array((1, size), lambda: draw.choice((0.25, 0.125, 0.375, 0.5, 0.0)))
    iou[0, -1] = 0.75
    labels = np.full((1, size), _CLASSES)
    labels[0, -1] = 0
    arguments = {
        "labels": labels, "max_iou": iou, "num_negatives": draw.integers((1,), 1, 6), "keys": _keys(draw, (1, size)),
        "fill_keys": _keys(draw, (1, size)),
    }  # fmt: skip
    return Case(arguments, {**_DEFAULTS, "num_bins": draw.choice((3, 2))}, draw.dtype())


def short_of_candidates(draw: Draw) -> Case:
    """No negative, none wanted, one IoU for all, or no candidate at all."""
    shape = (draw.integer(1, 2), draw.choice((3, 1, 5, 0)))
    keys = np.broadcast_to(np.arange(shape[1]) / 64.0, shape).copy()
    arguments = {
        "labels": np.full(shape, draw.choice((_CLASSES, 0, -1))), "max_iou": np.full(shape, draw.choice((0.0, 0.25))),
        "num_negatives": draw.integers(shape[:1], 0, 4), "keys": keys, "fill_keys": keys[:, ::-1].copy(),
    }  # fmt: skip
    return Case(arguments, _options(draw), draw.dtype())


def bins_up_to_the_largest(draw: Draw) -> Case:
    """Distinct keys, no floor, and no fixed end of the bins."""
    return distinct_keys(draw).with_options(floor_iou=None, upper=draw.choice(("all", "negatives")))


def _of_sizes(sizes: Sequence[int], number: int, draw: Draw, *, images: int = 1, positive: bool = True) -> Case:
    """Negatives in the middle of each of three bins on [0, 0.5], whose end a positive holds; keys do not matter."""
    iou = np.repeat([*_LEVELS, 0.5], [*sizes, int(positive)])
    labels = np.where(iou == 0.5, 1, _CLASSES)
    repeat = (images, 1)
    keys = np.zeros((images, iou.size))
    arguments = {
        "labels": np.tile(labels, repeat), "max_iou": np.tile(iou, repeat), "num_negatives": np.full(images, number),
        "keys": keys, "fill_keys": keys,
    }  # fmt: skip
    return Case(arguments, dict(_DEFAULTS), draw.dtype())


def full_and_empty_bins(draw: Draw) -> Case:
    """Bins of many negatives, one or two, and two; three or six are drawn; no IoU of 0."""
    return _of_sizes((draw.integer(4, 9), draw.integer(1, 2), 2), draw.choice((3, 6)), draw)


def largest_alone(draw: Draw) -> Case:
    """No positive: the largest IoU is a negative's, the only one in the last bin."""
    return _of_sizes((draw.integer(2, 6), draw.integer(1, 3), 1), 3, draw, positive=False)


def zero_alone(draw: Draw) -> Case:
    """Two images or three: an IoU of 0, the only one in the first bin."""
    case = _of_sizes((1, draw.integer(2, 6), 1), 3, draw, images=draw.integer(2, 3))
    iou = case.arguments["max_iou"]
    return case.with_arguments(max_iou=np.where(iou == _LEVELS[0], 0.0, iou))


def something_to_choose(draw: Draw) -> Case:
    """Bins of many negatives, some and few; the quotas leave some of those wanted."""
    *sizes, number = draw.choice(((8, 4, 1, 7), (5, 3, 2, 5), (10, 2, 1, 6)))
    return _of_sizes(sizes, number, draw)


def with_a_floor(draw: Draw) -> Case:
    """Many zeros, or IoUs below 1/8, of which half of the sample comes."""
    case = _of_sizes((6, 4, 2), draw.choice((6, 5)), draw)
    floor, iou = draw.choice((0.0, 0.125)), case.arguments["max_iou"]
    case = case.with_arguments(max_iou=np.where(iou == _LEVELS[0], 0.0 if floor == 0.0 else iou, iou))
    return case.with_options(floor_iou=floor, floor_fraction=0.5)


def real_image(seed: int) -> Case:
    """The proposals and objects of a photograph: half of them do not overlap any object, most hardly."""
    found = real_candidates(seed)
    shape = (1, found.labels.size)
    arguments = {
        "labels": found.labels[None], "max_iou": found.max_iou[None], "num_negatives": np.array([48]),
        "keys": keys_with_ties(seed, shape), "fill_keys": keys_with_ties(seed + 1, shape),
    }  # fmt: skip
    return Case(arguments, {**_DEFAULTS, "num_classes": REAL_CLASSES}, "float32", origin=f"scene {seed}")


def proposals(seed: int) -> Case:
    """Two images of 20,000 proposals, one in a thousand overlapping an object much."""
    random = np.random.default_rng(seed)
    shape = (2, 20_000)
    iou = np.floor(random.beta(0.2, 4.0, shape) * 1024.0) / 1024.0
    labels = np.where(iou >= 0.5, random.integers(0, _CLASSES, shape), _CLASSES)
    order = np.broadcast_to(np.arange(shape[1]), shape)
    arguments = {
        "labels": labels, "max_iou": iou, "num_negatives": np.array([384, 500]),
        "keys": random.permuted(order, axis=1) / 2.0**15, "fill_keys": random.permuted(order, axis=1) / 2.0**15,
    }  # fmt: skip
    return Case(arguments, {**_DEFAULTS, "upper": 0.5}, "float32", origin=f"scene {seed}")


def proposals_above_a_floor(seed: int) -> Case:
    """The same in four bins between 1/16 and the largest IoU of the negatives: edges that every format has."""
    options: dict[str, OptionValue] = {"num_bins": 4, "floor_iou": 0.0625, "floor_fraction": 0.25, "upper": "negatives"}
    return proposals(seed).with_options(**options)


# --- laws -----------------------------------------------------------------------------------------------------


def _probabilities(case: Case) -> tuple[Float, Float]:
    """Of a case of one image."""
    number = int(case.arguments["num_negatives"][0])
    single, together = oracle.iou_balanced_probabilities(
        case.arguments["labels"][0], case.arguments["max_iou"][0], number, **case.options  # type: ignore[arg-type]
    )  # fmt: skip
    return single, together


def _first_bin(case: Case) -> Array:
    return np.asarray(case.arguments["max_iou"][0] == _LEVELS[0])


def _law_of_the_first_bin(case: Case) -> Float:
    """Its quota for certain, and as many as fall to it of what is left to draw."""
    iou, number = case.arguments["max_iou"][0], int(case.arguments["num_negatives"][0])
    sizes = [int((iou == level).sum()) for level in _LEVELS]
    taken = [min(number // 3, size) for size in sizes]
    rest = sum(sizes) - sum(taken)
    return hypergeometric(taken[0], number - sum(taken), rest, sizes[0] - taken[0], sizes[0])


def _uniform(case: Case) -> Array:
    """Without bins: the negatives with the smallest keys."""
    names = ("keys", "labels", "num_negatives")
    images = zip(*(case.arguments[name] for name in names), strict=True)
    return np.array([smallest_keys(keys, labels == _CLASSES, int(number)) for keys, labels, number in images])


def half_as_large(case: Case) -> Case:
    """All IoUs halved: the bins shrink along."""
    return case.with_arguments(max_iou=case.arguments["max_iou"] / 2.0)


def reversed_candidates(case: Case) -> Case:
    """Candidates, with all that belongs to them, in reverse."""
    return case.with_arguments(
        **{name: values[..., ::-1].copy() for name, values in case.arguments.items() if name != "num_negatives"}
    )


# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by IBN-1; kept because a failure then names the law that is broken"
_CAPTION = "implied by IBN-1 for candidates with keys; exact for those without"

IOU_BALANCED_NEGATIVES = Technique(
    id="iou_balanced_negatives",
    title="IoU-balanced negative sampling",
    family="hard_sampling",
    summary="Negatives of each image, in equal numbers from equal ranges of IoU.",
    sources=(
        'Pang et al., "Libra R-CNN: Towards Balanced Learning for Object Detection", CVPR 2019, arXiv 1904.02701, 3.1',
    ),
    oracle=oracle.iou_balanced_negatives,
    arguments=(
        Argument("labels", ("...", "N"), "int", "0..C-1 foreground, C background (negative), -1 ignore or padding"),
        Argument("max_iou", ("...", "N"), "float", "largest IoU with an object"),
        Argument("num_negatives", ("...",), "int", "how many each image gives"),
        Argument("keys", ("...", "N"), "float", "uniform random numbers in [0, 1), for bins and floor", is_key=True),
        Argument("fill_keys", ("...", "N"), "float", "others, for what the bins leave to fill", is_key=True),
    ),
    options=(
        Option("num_classes", 80, "C"),
        Option("num_bins", 3, "K"),
        Option("floor_iou", None, "where the bins begin; None: at 0, and IoUs of 0 belong to the first"),
        Option("floor_fraction", 0.0, "share of the negatives from below the floor"),
        Option("upper", "all", "where the bins end: largest IoU of all candidates or of negatives, or a number"),
    ),
    outputs=(Output("negative", ("...", "N"), "bool", "negatives of the sample"),),
    requirements=(
        Requirement("IBN-1", Level.MUST, Kind.VALUE,
                    "Each bin gives its members with the smallest keys, up to its quota; the rest is filled from all.",
                    "section 3.1; explicit keys are ours", value, distinct_keys,
                    scenes=(proposals, proposals_above_a_floor, real_image), dtypes=_FULL, needs_keys=True,
                    reaches={"a floor": lambda c: c.options["floor_iou"] is not None,
                             "negatives left over": lambda c: bool(
                                 ((c.arguments["labels"] == _CLASSES).sum(-1) > c.arguments["num_negatives"]).any())}),
        Requirement("IBN-2", Level.MUST, Kind.BOUND, "As many negatives as asked for, or all; nothing else.",
                    "authors' code", counts(_probabilities), distinct_keys, dtypes=_FULL, examples=0.3,
                    no_mutant=_CAPTION),
        Requirement("IBN-3", Level.MUST, Kind.TIES, "An IoU on the edge of two bins belongs to the upper one.",
                    "ruling edges", value, on_the_edges, dtypes=_FULL, needs_keys=True),
        Requirement("IBN-4", Level.MUST, Kind.TIES, "Of equal keys the first candidate's counts.", "ruling ties", value,
                    equal_keys, dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("IBN-5", Level.MUST, Kind.CONSERVATION, "A bin that holds no more than its quota gives all it has.",
                    "section 3.1", certainties(_probabilities, "of a bin within its quota"), full_and_empty_bins,
                    dtypes=_FULL, examples=0.1, no_mutant=_CAPTION),
        Requirement("IBN-6", Level.MUST, Kind.TIES, "The negative of the largest IoU belongs to the last bin.",
                    "ruling edges", certainties(_probabilities, "of the largest IoU, alone in the last bin"),
                    largest_alone, dtypes=_FULL, examples=0.1, no_mutant=_CAPTION),
        Requirement("IBN-7", Level.MUST, Kind.EMPTY,
                    "Without a floor an IoU of 0 belongs to the first bin, in every image and every call.",
                    "ruling state", certainties(_probabilities, "of IoU 0, alone in the first bin"), zero_alone,
                    dtypes=_FULL, examples=0.1, no_mutant=_CAPTION),
        Requirement("IBN-8", Level.MUST, Kind.EMPTY,
                    "Without negatives, candidates, or differences between IoUs, what there is is drawn.",
                    "ruling shortage", value, short_of_candidates, dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("IBN-9", Level.MUST, Kind.DISTRIBUTION, "Each negative is drawn as often as it must be.",
                    "section 3.1, p_k", frequencies(_probabilities), something_to_choose, dtypes=_FULL, examples=0.03,
                    no_mutant="a sampler that favours a candidate favours its pairs, which IBN-10 sees too"),
        Requirement("IBN-10", Level.MUST, Kind.DISTRIBUTION, "Each pair is drawn together as often as it must be.",
                    "section 3.1", frequencies(_probabilities, of_pairs=True), something_to_choose, dtypes=_FULL,
                    examples=0.03,
                    no_mutant="IBN-12 sees pairs too, but a candidate without a floor skips it"),
        Requirement("IBN-11", Level.MUST, Kind.DISTRIBUTION,
                    "The number drawn from a bin is its quota and a hypergeometric number of what is left.",
                    "section 3.1", numbers_in_group(_first_bin, _law_of_the_first_bin), something_to_choose,
                    dtypes=_FULL, examples=0.03, no_mutant="implied by IBN-9 and IBN-10 up to its second moment"),
        Requirement("IBN-12", Level.MUST, Kind.DISTRIBUTION,
                    "Below a floor its share is drawn, uniformly, and independently of the bins.",
                    "authors' code", frequencies(_probabilities, of_pairs=True), with_a_floor, dtypes=_FULL,
                    options=("floor_iou", "floor_fraction"), examples=0.03, no_mutant=_CAPTION),
        Requirement("IBN-13", Level.MUST, Kind.REDUCES_TO, "One bin is random sampling.", "section 3.1",
                    reduces_to(_uniform, num_bins=1, floor_iou=None, floor_fraction=0.0), distinct_keys, dtypes=_FULL,
                    needs_keys=True, options=("num_bins",), examples=0.3, no_mutant=_IMPLIED),
        Requirement("IBN-14", Level.MUST, Kind.BATCH, "Each image has its own bins and its own number.",
                    "ruling per-image", batch_equals_per_image, distinct_keys, dtypes=_FULL, needs_keys=True,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("IBN-15", Level.MUST, Kind.BATCH, "Ignored candidates at the end of an image change nothing.",
                    "padding", padding(1, labels=-1, max_iou=0.0, keys=0.0, fill_keys=0.0), distinct_keys, dtypes=_FULL,
                    needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IBN-16", Level.MUST, Kind.INVARIANCE, "Reordering the candidates reorders what is drawn.",
                    "explicit keys", same_as(reversed_candidates, "draw from the reordered image",
                                             lambda output, _: output[..., ::-1]),
                    distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IBN-17", Level.MUST, Kind.INVARIANCE, "Halving all IoUs halves the bins and changes nothing.",
                    "section 3.1", same_as(half_as_large, "draw by halved IoUs"), bins_up_to_the_largest, dtypes=_FULL,
                    needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IBN-18", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal keys give equal draws.",
                    "house rule", purity, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3),
        Requirement("IBN-19", Level.SHOULD, Kind.ERROR, "Labels of another shape than the keys' are refused.",
                    "house rule", refuses(bad_shape("labels")), distinct_keys, dtypes=_FULL, needs_keys=True,
                    examples=0.2),
        Requirement("IBN-20", Level.MAY, Kind.ERROR, "No bin, and a share outside [0, 1], are refused.", "house rule",
                    refuses(bad_option("num_bins", 0), bad_option("floor_fraction", 1.5)), distinct_keys, dtypes=_FULL,
                    examples=0.2),
        Requirement("IBN-21", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.2),
    ),
    mutants=MUTANTS,
    dialects=(
        Dialect("authors_code", "the bins end at the largest IoU of all candidates, positives included",
                {"upper": "all"}),
        Dialect("negatives", "the bins end at the largest IoU of the negatives", {"upper": "negatives"},
                departs_from_paper=False),
        Dialect("threshold", "the bins end at an IoU of 0.5, where positives begin", {"upper": 0.5},
                departs_from_paper=False),
    ),
    rulings=(
        Ruling("edges", "A bin holds its lower edge; the last one holds its upper edge too."),
        Ruling("state", "No call changes what the next one does: a floor that is off stays off."),
        Ruling("shortage", "What bins and floor lack, the other gives; nothing is drawn twice."),
        Ruling("per-image", "Bins and numbers are those of one image."),
        Ruling("ties", "Of equal keys the first candidate's counts; with 64-bit random keys there are none."),
    ),
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.LIMIT: "no limit", Kind.EXTREME: "IoUs and keys are plain numbers in [0, 1]",
    },
)  # fmt: skip
