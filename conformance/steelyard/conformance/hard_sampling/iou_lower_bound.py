"""Contracts of the IoU lower bound: labels by ranges of IoU, and the sample that is drawn by them.

Girshick, "Fast R-CNN", ICCV 2015 (arXiv 1504.08083), section 2.3.
"""

from __future__ import annotations

import numpy as np

from steelyard.conformance.checking import (
    Bench,
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
    counts,
    frequencies,
    hypergeometric,
    independent_pools,
    numbers_in_group,
)
from steelyard.conformance.hard_sampling.iou_lower_bound_mutants import LABEL_MUTANTS, SAMPLING_MUTANTS
from steelyard.conformance.hard_sampling.real_proposals import REAL_CLASSES, keys_with_ties, real_candidates
from steelyard.conformance.precision import Float
from steelyard.conformance.soft_sampling.focal_inputs import option
from steelyard.reference.hard_sampling import iou_lower_bound as oracle

_FULL = ("float32", "float64")
_CLASSES = 3
_RANGE: dict[str, OptionValue] = {
    "num_classes": _CLASSES, "foreground_iou": 0.5, "background_low": 0.1, "background_high": 0.5,
}  # fmt: skip
_QUOTA: dict[str, OptionValue] = {
    "num_samples": 4, "positive_fraction": 0.25, "rounding": "down", "fill_from_below": False,
}  # fmt: skip

# --- inputs: IoUs are odd multiples of 1/32, away from every threshold; keys multiples of 1/64 ---------------------


def _range(draw: Draw) -> dict[str, OptionValue]:
    return {
        "num_classes": _CLASSES,
        "foreground_iou": draw.choice((0.5, 0.5, 0.75)),
        "background_low": draw.choice((0.1, 0.25, 0.0, 0.5)),
        "background_high": draw.choice((0.5, 0.5, 0.375)),
    }


def _arrays(draw: Draw, shape: tuple[int, ...]) -> dict[str, Array]:
    iou = draw.array(shape, lambda: (2 * draw.choice((0, 4, 9, 2, 13, 6, 0)) + 1) / 32.0)
    classes = draw.array(shape, lambda: float(draw.choice((0, 1, 2, 0, 1, -1)))).astype(np.int64)
    return {"max_iou": iou, "classes": classes}


def candidates(draw: Draw) -> Case:
    """One to three images of up to twelve candidates: far, near, in a gap, on an object, some to be ignored."""
    shape = (draw.integer(1, 3), draw.integer(1, 12))
    return Case(_arrays(draw, shape), _range(draw), draw.dtype())


def at_the_ends(draw: Draw) -> Case:
    """IoUs exactly at the ends of the ranges, which are exact in every format."""
    shape = (1, draw.integer(1, 8))
    iou = draw.array(shape, lambda: draw.choice((0.5, 0.25, 0.125, 0.0, 0.75, 1.0)))
    options: dict[str, OptionValue] = {
        "num_classes": _CLASSES,
        "foreground_iou": draw.choice((0.5, 0.75)),
        "background_low": draw.choice((0.125, 0.25, 0.0)),
        "background_high": 0.5,
    }
    return Case({"max_iou": iou, "classes": np.zeros(shape, dtype=np.int64)}, options, draw.dtype())


def without_objects(draw: Draw) -> Case:
    """Images without objects, of none to five candidates."""
    shape = (draw.integer(1, 2), draw.choice((3, 1, 5, 0)))
    options = {**_RANGE, "background_low": draw.choice((0.1, 0.0))}
    return Case({"max_iou": np.zeros(shape), "classes": np.zeros(shape, dtype=np.int64)}, options, draw.dtype())


def _with_keys(case: Case, draw: Draw) -> Case:
    """The same with keys, no two of an image equal, and a quota."""
    shape = case.arguments["max_iou"].shape
    keys = np.argsort(draw.array(shape, draw.fraction), axis=-1, kind="stable") / 64.0
    quota: dict[str, OptionValue] = {
        "num_samples": draw.choice((4, 6, 2, 10, 1)),
        "positive_fraction": draw.choice((0.25, 0.5, 0.0, 1.0)),
        "rounding": draw.choice(("down", "half_even")),
        "fill_from_below": draw.flag(25),
    }
    return Case({**case.arguments, "keys": keys}, {**case.options, **quota}, case.dtype)


def distinct_keys(draw: Draw) -> Case:
    """Candidates with keys."""
    return _with_keys(candidates(draw), draw)


def ends_with_keys(draw: Draw) -> Case:
    """IoUs exactly at the ends of the ranges, of which all are drawn, or all but a few of those below."""
    case = _with_keys(at_the_ends(draw), draw).with_options(positive_fraction=0.5)
    return (
        case.with_options(num_samples=20)
        if draw.flag(60)
        else case.with_options(num_samples=draw.choice((3, 4, 5)), fill_from_below=True)
    )


def without_objects_with_keys(draw: Draw) -> Case:
    """Images without objects."""
    return _with_keys(without_objects(draw), draw)


def equal_keys(draw: Draw) -> Case:
    """Candidates with few different keys."""
    case = distinct_keys(draw)
    return case.with_arguments(keys=np.floor(case.arguments["keys"] * 16.0) / 16.0)


def half_a_positive(draw: Draw) -> Case:
    """Quotas that end in one half, and more positives than that."""
    number = draw.choice((30, 6, 10))
    iou = np.repeat([0.78125, 0.28125], [9, 40])[None]
    arguments = {"max_iou": iou, "classes": np.zeros(iou.shape, dtype=np.int64), "keys": np.zeros(iou.shape)}
    options = {**_RANGE, **_QUOTA, "num_samples": number, "rounding": draw.choice(("down", "half_even"))}
    return Case(arguments, options, draw.dtype())


def something_to_choose(draw: Draw) -> Case:
    """One image with positives of two classes, negatives in the range and far ones; two of four and six are drawn."""
    in_range, far = draw.choice(((9, 3), (7, 6)))
    iou = np.repeat([0.78125, 0.28125, 0.03125], [5, in_range, far])[None]
    classes = np.repeat([0, 1], [3, 2 + in_range + far])[None]
    options = {**_RANGE, **_QUOTA, "num_samples": 8}
    arguments = {"max_iou": iou, "classes": classes, "keys": np.zeros(iou.shape)}
    return Case(arguments, options, draw.dtype())


def real_image(seed: int) -> Case:
    """The proposals and objects of a photograph."""
    found = real_candidates(seed)
    shape = (1, found.labels.size)
    arguments = {"max_iou": found.max_iou[None], "classes": found.classes[None], "keys": keys_with_ties(seed, shape)}
    options = {**_RANGE, **_QUOTA, "num_classes": REAL_CLASSES, "num_samples": 64}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


def real_labels(seed: int) -> Case:
    """The same without keys."""
    case = real_image(seed)
    arguments = {name: case.arguments[name] for name in ("max_iou", "classes")}
    return Case(arguments, {**_RANGE, "num_classes": REAL_CLASSES}, "float32", origin=f"scene {seed}")


def proposals(seed: int) -> Case:
    """Two images of 20,000 proposals, one in a thousand overlapping an object much."""
    random = np.random.default_rng(seed)
    shape = (2, 20_000)
    iou = (2.0 * np.floor(random.beta(0.2, 4.0, shape) * 512.0) + 1.0) / 1024.0
    order = np.broadcast_to(np.arange(shape[1]), shape)
    arguments = {
        "max_iou": iou, "classes": random.integers(0, _CLASSES, shape),
        "keys": random.permuted(order, axis=1) / 2.0**15,
    }  # fmt: skip
    options = {**_RANGE, **_QUOTA, "num_samples": 512}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


# --- laws -----------------------------------------------------------------------------------------------------


def _labels(case: Case) -> Array:
    options = {name: case.options[name] for name in _RANGE}
    return oracle.iou_range_labels(case.arguments["max_iou"], case.arguments["classes"], **options)  # type: ignore[arg-type]


def _two_ranges(case: Case) -> Array:
    """Without a lower bound and without a gap."""
    iou, classes = case.arguments["max_iou"], case.arguments["classes"]
    return np.where(classes == -1, -1, np.where(iou >= option(case, "foreground_iou"), classes, _CLASSES))


def higher_bound_takes_background(bench: Bench, case: Case) -> None:
    """From a lower bound of 0 to the case's: some background is ignored, and nothing else changes."""
    low = bench.evaluate(case.with_options(background_low=0.0)).outputs[0]
    high = bench.evaluate(case).outputs[0]
    changed = low != high
    bench.expect(bool((low[changed] == _CLASSES).all() and (high[changed] == -1).all()),
                 "a higher lower bound did more than to ignore background", case)  # fmt: skip


def no_gap(draw: Draw) -> Case:
    """Candidates, with the range up to the foreground."""
    case = candidates(draw)
    return case.with_options(background_high=case.options["foreground_iou"])


def _probabilities(case: Case) -> tuple[Float, Float]:
    """Of a case of one image."""
    labels, number = _labels(case)[0], int(option(case, "num_samples"))
    share = number * option(case, "positive_fraction")
    foreground, background = (
        (labels >= 0) & (labels < option(case, "num_classes")),
        labels == case.options["num_classes"],
    )
    n_pos = min(int(foreground.sum()), int(share) if case.options["rounding"] == "down" else round(share))
    n_neg = min(int(background.sum()), number - n_pos)
    ends = [option(case, name) for name in ("background_low", "background_high", "foreground_iou")]
    below = (case.arguments["max_iou"][0] < min(ends)) & (case.arguments["classes"][0] != -1)
    n_below = min(int(below.sum()), number - n_pos - n_neg) if case.options["fill_from_below"] else 0
    return independent_pools((foreground, n_pos), (background, n_neg), (below, n_below))


def _first_class(case: Case) -> Array:
    return np.asarray((_labels(case) == 0)[0])


def _law_of_the_first_class(case: Case) -> Float:
    """Two of five positives, three of which are of the first class."""
    members = int(_first_class(case).sum())
    return hypergeometric(0, 2, 5, members, members)


def reversed_candidates(case: Case) -> Case:
    """Candidates, with all that belongs to them, in reverse."""
    return case.with_arguments(**{name: values[..., ::-1].copy() for name, values in case.arguments.items()})


# --- contracts ------------------------------------------------------------------------------------------------

_IMPLIED = "implied by the first requirement; kept because a failure then names the law that is broken"
_SOURCES = ('Girshick, "Fast R-CNN", ICCV 2015, arXiv 1504.08083, section 2.3',)
_RANGE_OPTIONS = (
    Option("num_classes", 80, "C, the label of the background"),
    Option("foreground_iou", 0.5, "IoU from which a candidate is foreground"),
    Option("background_low", 0.1, "IoU from which it is background"),
    Option("background_high", 0.5, "IoU below which it is background"),
)
_RULINGS = (
    Ruling("ends", "The lower end of the range belongs to it, the upper one does not; the foreground's does."),
    Ruling("rest", "What is neither foreground nor in the range is ignored, also in an image without objects."),
)
_IOU = Argument("max_iou", ("...", "N"), "float", "largest IoU with an object; 0 where there is none")
_NEAREST = Argument("classes", ("...", "N"), "int", "class of that object, 0..C-1; -1 ignore or padding")

IOU_RANGE_LABELS = Technique(
    id="iou_range_labels",
    title="Labels by ranges of IoU",
    family="hard_sampling",
    summary="Foreground, background within a range of IoU, and what is ignored.",
    sources=_SOURCES,
    oracle=oracle.iou_range_labels,
    arguments=(_IOU, _NEAREST),
    options=_RANGE_OPTIONS,
    outputs=(Output("labels", ("...", "N"), "int", "0..C-1 foreground, C background, -1 ignored"),),
    requirements=(
        Requirement("IRL-1", Level.MUST, Kind.VALUE, "The IoU decides: foreground, background, or ignored.",
                    "section 2.3", value, candidates, scenes=(real_labels,),
                    no_mutant="IRL-2 has every region too, at its ends",
                    reaches={"in a gap": lambda c: option(c, "background_high") < option(c, "foreground_iou"),
                             "to be ignored": lambda c: bool((c.arguments["classes"] == -1).any())}),
        Requirement("IRL-2", Level.MUST, Kind.TIES, "The lower end belongs to the range, the upper one does not.",
                    "ruling ends", value, at_the_ends),
        Requirement("IRL-3", Level.MUST, Kind.EMPTY, "In an image without objects the bound holds too.", "ruling rest",
                    value, without_objects, examples=0.3),
        Requirement("IRL-4", Level.MUST, Kind.REDUCES_TO, "Without bound and gap nothing is ignored.", "section 2.3",
                    reduces_to(_two_ranges, background_low=0.0), no_gap, options=("background_low",), examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("IRL-5", Level.MUST, Kind.BOUND, "A higher lower bound takes background away, nothing else.",
                    "section 2.3", higher_bound_takes_background, candidates, options=("background_low",),
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("IRL-6", Level.MUST, Kind.BATCH, "Each image has the labels that it has alone.", "section 2.3",
                    batch_equals_per_image, candidates, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IRL-7", Level.MUST, Kind.INVARIANCE, "Each candidate's label depends on its own IoU and class.",
                    "section 2.3", same_as(reversed_candidates, "labels in another order", lambda y, _: y[..., ::-1]),
                    candidates, examples=0.3, no_mutant=_IMPLIED),
        Requirement("IRL-8", Level.MUST, Kind.PURITY, "The inputs are not written to.", "house rule", purity,
                    candidates, examples=0.3),
        Requirement("IRL-9", Level.SHOULD, Kind.ERROR, "Classes of another shape than the IoUs' are refused.",
                    "house rule", refuses(bad_shape("classes")), candidates, examples=0.2),
        Requirement("IRL-10", Level.MAY, Kind.ERROR, "A threshold outside [0, 1] is refused.", "house rule",
                    refuses(bad_option("foreground_iou", 1.5)), candidates, examples=0.2),
    ),
    mutants=LABEL_MUTANTS,
    rulings=_RULINGS,
    not_applicable={
        Kind.GRADIENT: "labels have no gradient", Kind.DETACHED: "labels have no gradient",
        Kind.LIMIT: "no limit", Kind.CONSERVATION: "each candidate gets one label",
        Kind.EXTREME: "IoUs are plain numbers in [0, 1]; IRL-1 has them in every precision",
        Kind.DISTRIBUTION: "nothing is random",
    },
)  # fmt: skip

IOU_LOWER_BOUND_SAMPLING = Technique(
    id="iou_lower_bound_sampling",
    title="Random sampling with an IoU lower bound for the background",
    family="hard_sampling",
    summary="A fixed number of candidates of each image, its background from a range of IoU only.",
    sources=_SOURCES,
    oracle=oracle.iou_lower_bound_sampling,
    arguments=(
        _IOU,
        _NEAREST,
        Argument("keys", ("...", "N"), "float", "independent uniform random numbers in [0, 1)", is_key=True),
    ),
    options=(
        *_RANGE_OPTIONS,
        Option("num_samples", 64, "size of the sample of one image"),
        Option("positive_fraction", 0.25, "largest share of positives"),
        Option("rounding", "down", "how the quota of positives becomes an integer"),
        Option("fill_from_below", False, "whether far background takes the place of what the range lacks"),
    ),
    outputs=(
        Output("positive", ("...", "N"), "bool", "positives of the sample"),
        Output("negative", ("...", "N"), "bool", "negatives of the sample"),
    ),
    requirements=(
        Requirement("ILB-1", Level.MUST, Kind.VALUE, "Of foreground and range those with the smallest keys are drawn.",
                    "section 2.3; explicit keys are ours", value, distinct_keys, scenes=(proposals, real_image),
                    dtypes=_FULL, needs_keys=True,
                    reaches={"filled from below": lambda c: bool(c.options["fill_from_below"])}),
        Requirement("ILB-2", Level.MUST, Kind.BOUND, "min(P, quota) and min(M, rest) are drawn, each from its range.",
                    "section 2.3", counts(_probabilities), distinct_keys, dtypes=_FULL, examples=0.3,
                    no_mutant="implied by ILB-1 for candidates with keys; exact for those without"),
        Requirement("ILB-3", Level.MUST, Kind.TIES, "The lower end belongs to the range, the upper one does not.",
                    "ruling ends", value, ends_with_keys, dtypes=_FULL, needs_keys=True),
        Requirement("ILB-4", Level.MUST, Kind.TIES, "The quota is cut, or in the authors' code rounded half to even.",
                    "ruling quota", counts(_probabilities), half_a_positive, dtypes=_FULL, examples=0.2,
                    no_mutant="implied by ILB-1 for candidates with keys; exact for those without"),
        Requirement("ILB-5", Level.MUST, Kind.TIES, "Of equal keys the first candidate's counts.", "ruling ties", value,
                    equal_keys, dtypes=_FULL, needs_keys=True, examples=0.5,
                    no_mutant="the real proposals of ILB-1 have equal keys too"),
        Requirement("ILB-6", Level.MUST, Kind.EMPTY, "Of an image without objects nothing above the bound is drawn.",
                    "ruling rest", value, without_objects_with_keys, dtypes=_FULL, needs_keys=True, examples=0.5),
        Requirement("ILB-7", Level.MUST, Kind.DISTRIBUTION, "Every candidate of a range is as likely as any other.",
                    "section 2.3", frequencies(_probabilities), something_to_choose, dtypes=_FULL, examples=0.03,
                    no_mutant="a sampler that favours a candidate favours its pairs, which ILB-8 sees too"),
        Requirement("ILB-8", Level.MUST, Kind.DISTRIBUTION, "Every pair is drawn together as often as it must be.",
                    "section 2.3", frequencies(_probabilities, of_pairs=True), something_to_choose, dtypes=_FULL,
                    examples=0.03),
        Requirement("ILB-9", Level.MUST, Kind.DISTRIBUTION, "A class has a hypergeometric number of the positives.",
                    "section 2.3", numbers_in_group(_first_class, _law_of_the_first_class), something_to_choose,
                    dtypes=_FULL, examples=0.03, no_mutant="implied by ILB-7 and ILB-8 up to its second moment"),
        Requirement("ILB-10", Level.MUST, Kind.BATCH, "Each image has its own sample.", "section 2.3",
                    batch_equals_per_image, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("ILB-11", Level.MUST, Kind.BATCH, "Ignored candidates at the end of an image change nothing.",
                    "padding", padding(1, max_iou=0.0, classes=-1, keys=0.0), distinct_keys, dtypes=_FULL,
                    needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("ILB-12", Level.MUST, Kind.INVARIANCE, "Reordering the candidates reorders the sample.",
                    "explicit keys", same_as(reversed_candidates, "sample of the reordered image",
                                             lambda output, _: output[..., ::-1]),
                    distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("ILB-13", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal keys give equal samples.",
                    "house rule", purity, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3),
        Requirement("ILB-14", Level.SHOULD, Kind.ERROR, "Classes of another shape than the keys' are refused.",
                    "house rule", refuses(bad_shape("classes")), distinct_keys, dtypes=_FULL, needs_keys=True,
                    examples=0.2),
        Requirement("ILB-15", Level.MAY, Kind.ERROR, "A sample of 0, and a share outside [0, 1], are refused.",
                    "house rule", refuses(bad_option("num_samples", 0), bad_option("positive_fraction", 1.5)),
                    distinct_keys, dtypes=_FULL, examples=0.2),
        Requirement("ILB-16", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.2),
    ),
    mutants=SAMPLING_MUTANTS,
    dialects=(
        Dialect("libraries", "the quota of the positives is cut", {"rounding": "down"}, departs_from_paper=False),
        Dialect("authors_code", "the quota of the positives is rounded half to even", {"rounding": "half_even"},
                departs_from_paper=False),
    ),
    rulings=(
        *_RULINGS,
        Ruling("quota", "The paper's 25 % are of whole numbers; both ways to cut a fraction are dialects."),
        Ruling("ties", "Of equal keys the first candidate's counts; with 64-bit random keys there are none."),
    ),
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.REDUCES_TO: "without a bound it is random sampling, by ILB-1 with background_low = 0",
        Kind.LIMIT: "no limit", Kind.CONSERVATION: "ILB-2 counts what is drawn",
        Kind.EXTREME: "IoUs and keys are plain numbers in [0, 1]",
    },
)  # fmt: skip
