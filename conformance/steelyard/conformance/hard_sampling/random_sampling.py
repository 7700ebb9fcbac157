"""Contract of random sampling with a quota for the positives.

Girshick, "Fast R-CNN", ICCV 2015 (arXiv 1504.08083), section 2.3; Ren et al., "Faster R-CNN", NeurIPS 2015 (arXiv
1506.01497), section 3.1.3.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from steelyard.conformance.candidates import Answer
from steelyard.conformance.checking import (
    Bench,
    any_axes_of_images,
    bad_option,
    bad_shape,
    batch_equals_per_image,
    padding,
    purity,
    refuses,
    same_as,
    value,
)
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
from steelyard.conformance.hard_sampling.draw_laws import hypergeometric, numbers_in_group
from steelyard.conformance.hard_sampling.mining_inputs import CLASSES
from steelyard.conformance.hard_sampling.random_sampling_mutants import MUTANTS
from steelyard.conformance.soft_sampling.focal_inputs import option
from steelyard.conformance.statistics import Suspicion, inclusion, pairs, uniform_keys
from steelyard.reference.hard_sampling import random_sampling as oracle

_FULL = ("float32", "float64")
_REPETITIONS = 4000

# --- inputs ---------------------------------------------------------------------------------------------------


def _options(draw: Draw) -> dict[str, OptionValue]:
    return {
        "num_classes": CLASSES,
        "num_samples": draw.choice((4, 2, 6, 1, 8)),
        "positive_fraction": draw.choice((0.5, 0.25, 0.0, 1.0, 0.29)),
        "negatives_per_positive": draw.choice((None, None, 1.0, 2.5, 0.0)),
    }


def _labels(draw: Draw, shape: tuple[int, ...]) -> Array:
    """Background mostly, some of each class, some ignored."""
    return draw.array(shape, lambda: float(draw.choice((CLASSES, CLASSES, 0, 1, 2, -1)))).astype(np.int64)


def distinct_keys(draw: Draw) -> Case:
    """One to three images of up to twelve candidates, no two keys of an image equal."""
    shape = (draw.integer(1, 3), draw.integer(1, 12))
    ranks = np.argsort(draw.array(shape, draw.fraction), axis=-1, kind="stable")
    # a multiple of 1/64 each: exact in every format
    return Case({"labels": _labels(draw, shape), "keys": ranks / 64.0}, _options(draw), draw.dtype())


def equal_keys(draw: Draw) -> Case:
    """The same with few different keys."""
    case = distinct_keys(draw)
    return case.with_arguments(keys=np.floor(case.arguments["keys"] * 64.0 / 4.0) / 4.0)


def short_of_candidates(draw: Draw) -> Case:
    """No positive, no negative, only ignored ones, or none at all."""
    shape = (draw.integer(1, 2), draw.choice((3, 1, 5, 0)))
    only = draw.choice((CLASSES, 0, -1))
    keys = np.broadcast_to(np.arange(shape[1]) / 64.0, shape).copy()
    return Case({"labels": np.full(shape, only), "keys": keys}, _options(draw), draw.dtype())


def rounded_quota(draw: Draw) -> Case:
    """Products of number and share that are whole in decimal and just below in binary, or end in one half."""
    number, share = draw.choice(((100, 0.29), (100, 0.57), (50, 0.58), (6, 0.25), (30, 0.25), (10, 0.25)))
    shape = (1, 130)
    labels = np.where(np.arange(shape[1]) % 2 == 0, 0, CLASSES).reshape(shape)
    keys = np.arange(shape[1])[::-1].reshape(shape) / 256.0
    options = {**_options(draw), "num_samples": number, "positive_fraction": share, "negatives_per_positive": None}
    return Case({"labels": labels, "keys": keys}, options, draw.dtype())


def one_image(draw: Draw) -> Case:
    """One image with something left to choose, for the tests of distribution."""
    positives, negatives, ignored = draw.choice(((6, 9, 1), (4, 5, 0), (10, 3, 2)))
    labels = np.array([draw.integer(0, CLASSES - 1) for _ in range(positives)] + [CLASSES] * negatives + [-1] * ignored)
    options = {
        **_options(draw),
        "num_samples": draw.choice((6, 4)),
        "positive_fraction": 0.5,
        "negatives_per_positive": None,
    }
    return Case(
        {"labels": labels[None], "keys": np.zeros((1, labels.size))}, options, draw.dtype(("float64", "float32"))
    )


def seven_positives(draw: Draw) -> Case:
    """One image with three positives of class 0 among seven, of which three are drawn."""
    negatives = draw.integer(6, 8)
    labels = np.array([0, 0, 1, 0, 1, 2, 1] + [CLASSES] * negatives + [-1])
    options = {**_options(draw), "num_samples": 6, "positive_fraction": 0.5, "negatives_per_positive": None}
    return Case(
        {"labels": labels[None], "keys": np.zeros((1, labels.size))}, options, draw.dtype(("float64", "float32"))
    )


def anchors(seed: int) -> Case:
    """Two images of 20,000 anchors with one positive in a thousand: an RPN's sample of 256."""
    random = np.random.default_rng(seed)
    shape = (2, 20_000)
    labels = np.where(random.random(shape) < 1e-3, random.integers(0, CLASSES, shape), CLASSES)
    labels[random.random(shape) < 0.01] = -1
    keys = random.permuted(np.broadcast_to(np.arange(shape[1]), shape), axis=1) / 2.0**15
    options: dict[str, OptionValue] = {"num_classes": CLASSES, "num_samples": 256, "positive_fraction": 0.5,
                                       "negatives_per_positive": None}  # fmt: skip
    return Case({"labels": labels, "keys": keys}, options, "float32", origin=f"scene {seed}")


def tied_anchors(seed: int) -> Case:
    """The same of 1,000 anchors, with keys of eight values: a sort of so many that is not stable shows."""
    case = anchors(seed)
    labels, keys = (case.arguments[name][:, :1000] for name in ("labels", "keys"))
    return case.with_arguments(labels=labels, keys=np.floor(8.0 * keys) / 8.0)


def _more_than_the_quota(case: Case) -> bool:
    labels = case.arguments["labels"]
    foreground = ((labels >= 0) & (labels < CLASSES)).sum(axis=-1)
    return bool((foreground > option(case, "num_samples") * option(case, "positive_fraction")).any())


# --- laws -----------------------------------------------------------------------------------------------------


def _masks(answer: Answer) -> tuple[Array, Array]:
    return answer.outputs[0].astype(bool), answer.outputs[1].astype(bool)


def sizes(bench: Bench, case: Case) -> None:
    """Numbers of positives and negatives, whatever the keys; each drawn from its own group, none twice."""
    positive, negative = _masks(bench.evaluate(case))
    wanted_positive, wanted_negative = bench.oracle(case)
    labels = case.arguments["labels"]
    foreground = (labels >= 0) & (labels < CLASSES)
    bench.expect(not (positive & ~foreground).any(), "a positive that is background or ignored", case)
    bench.expect(not (negative & (labels != CLASSES)).any(), "a negative that is foreground or ignored", case)
    for name, found, wanted in (("positives", positive, wanted_positive), ("negatives", negative, wanted_negative)):
        numbers, expected = found.sum(axis=-1).tolist(), wanted.sum(axis=-1).tolist()
        bench.expect(numbers == expected, f"{numbers} {name} of the images, expected {expected}", case)


def only_the_order_of_keys_counts(case: Case) -> Case:
    """Keys replaced by their squares, which keeps their order."""
    return case.with_arguments(keys=case.arguments["keys"] ** 2)


def permuted(case: Case) -> Case:
    """Candidates, with their keys, in reverse."""
    return case.with_arguments(**{name: values[..., ::-1].copy() for name, values in case.arguments.items()})


def _class_0(case: Case) -> Array:
    return np.asarray(case.arguments["labels"][0] == 0)


def _numbers_of_class_0(case: Case) -> Array:
    """How many of them are drawn: hypergeometric."""
    labels = case.arguments["labels"]
    positives = int(((labels >= 0) & (labels < CLASSES)).sum())
    positive, _ = oracle.random_sampling(labels, case.arguments["keys"], **case.options)  # type: ignore[arg-type]
    members = int(_class_0(case).sum())
    return hypergeometric(0, int(positive.sum()), positives, members, members)


def _distribution(judge: Callable[[Array, Array, Array], Suspicion]) -> Callable[[Bench, Case], None]:
    def check(bench: Bench, case: Case) -> None:
        labels = case.arguments["labels"][0]
        single, together = oracle.inclusion_probabilities(labels, **case.options)  # type: ignore[arg-type]

        def test(seed: int) -> Suspicion:
            shape = (_REPETITIONS, labels.size)
            many = case.with_arguments(
                labels=np.broadcast_to(labels, shape).copy(),
                keys=uniform_keys(shape, seed, np.float32).astype(np.float64),
            )
            positive, negative = _masks(bench.attempt(many))
            return judge(positive | negative, single, together)

        bench.expect_distribution(case, test, zlib.crc32(labels.tobytes()))

    return check


# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by RS-1; kept because a failure then names the law that is broken"

RANDOM_SAMPLING = Technique(
    id="random_sampling",
    title="Random sampling with a quota for the positives",
    family="hard_sampling",
    summary="A fixed number of candidates of each image, of which at most a given share is positive.",
    sources=(
        'Girshick, "Fast R-CNN", ICCV 2015, arXiv 1504.08083, section 2.3',
        'Ren et al., "Faster R-CNN", NeurIPS 2015, arXiv 1506.01497, section 3.1.3',
    ),
    oracle=oracle.random_sampling,
    arguments=(
        Argument("labels", ("...", "N"), "int", "0..C-1 foreground, C background, -1 ignore"),
        Argument("keys", ("...", "N"), "float", "independent uniform random numbers in [0, 1)", is_key=True),
    ),
    options=(
        Option("num_classes", 80, "C"),
        Option("num_samples", 256, "size of the sample of one image"),
        Option("positive_fraction", 0.5, "largest share of positives"),
        Option("negatives_per_positive", None, "upper bound of the negatives for each positive; None: no bound"),
    ),
    outputs=(
        Output("positive", ("...", "N"), "bool", "positives of the sample"),
        Output("negative", ("...", "N"), "bool", "negatives of the sample"),
    ),
    requirements=(
        Requirement("RS-1", Level.MUST, Kind.VALUE, "Of each group the candidates with the smallest keys are drawn.",
                    "section 2.3; explicit keys are ours", value, distinct_keys, scenes=(anchors,), dtypes=_FULL,
                    needs_keys=True,
                    reaches={"an ignored candidate": lambda c: bool((c.arguments["labels"] == -1).any()),
                             "more positives than the quota": _more_than_the_quota,
                             "a bound of negatives": lambda c: c.options["negatives_per_positive"] is not None}),
        Requirement("RS-2", Level.MUST, Kind.BOUND,
                    "The numbers are min(P, quota) and min(M, rest), every candidate from its own group.",
                    "section 2.3", sizes, distinct_keys, dtypes=_FULL,
                    no_mutant="implied by RS-1 for candidates with keys; the one exact requirement for those without"),
        Requirement("RS-3", Level.MUST, Kind.TIES, "Of equal keys the first candidate's counts.", "ruling ties", value,
                    equal_keys, scenes=(tied_anchors,), dtypes=_FULL, needs_keys=True),
        Requirement("RS-4", Level.MUST, Kind.TIES, "The quota is the product in float64, cut to an integer.",
                    "ruling quota", sizes, rounded_quota, dtypes=("float64",), examples=0.2),
        Requirement("RS-5", Level.MUST, Kind.EMPTY,
                    "Images without positives, negatives or candidates give what there is.", "ruling shortage", sizes,
                    short_of_candidates, dtypes=_FULL, examples=0.5),
        Requirement("RS-6", Level.MUST, Kind.DISTRIBUTION,
                    "Every subset of these sizes is equally likely: candidates, and positives and negatives together.",
                    "section 2.3", _distribution(inclusion), one_image, dtypes=_FULL, examples=0.03,
                    no_mutant="a sampler that favours a candidate favours its pairs, which RS-7 sees too"),
        Requirement("RS-7", Level.MUST, Kind.DISTRIBUTION,
                    "Every pair is drawn together as often as it must be, a positive and a negative independently.",
                    "section 2.3", _distribution(lambda chosen, _, together: pairs(chosen, together)), one_image,
                    dtypes=_FULL, examples=0.03),
        Requirement("RS-15", Level.MUST, Kind.DISTRIBUTION,
                    "How many positives of a class are drawn is hypergeometric: three together as often as they must.",
                    "section 2.3", numbers_in_group(_class_0, _numbers_of_class_0), seven_positives, dtypes=_FULL,
                    examples=0.03),
        Requirement("RS-8", Level.MUST, Kind.BATCH, "The quota holds for each image.", "ruling per-image",
                    batch_equals_per_image, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("RS-9", Level.MUST, Kind.BATCH, "Ignored candidates at the end of an image change nothing.",
                    "padding", padding(1, labels=-1, keys=0.0), distinct_keys, dtypes=_FULL, needs_keys=True,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("RS-10", Level.MUST, Kind.INVARIANCE,
                    "Reordering the candidates with their keys reorders the sample.",
                    "explicit keys", same_as(permuted, "sample of the reordered image", lambda o, _: o[..., ::-1]),
                    distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("RS-11", Level.MUST, Kind.INVARIANCE, "Only the order of the keys counts.", "explicit keys",
                    same_as(only_the_order_of_keys_counts, "sample by squared keys"), distinct_keys,
                    dtypes=("float64",), needs_keys=True, examples=0.3, no_mutant=_IMPLIED),
        Requirement("RS-12", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal keys give equal samples.",
                    "house rule", purity, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.3),
        Requirement("RS-13", Level.SHOULD, Kind.ERROR, "Labels of another shape than the keys' are refused.",
                    "house rule", refuses(bad_shape("labels")), distinct_keys, dtypes=_FULL, needs_keys=True,
                    examples=0.2),
        Requirement("RS-14", Level.MAY, Kind.ERROR, "A sample of 0, and a share outside [0, 1], are refused.",
                    "house rule", refuses(bad_option("num_samples", 0), bad_option("positive_fraction", 1.5)),
                    distinct_keys, dtypes=_FULL, examples=0.2),
        Requirement("RS-16", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, distinct_keys, dtypes=_FULL, needs_keys=True, examples=0.2),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("quota",
               "int(num_samples * positive_fraction) in float64, as libraries compute it: 100 x 0.29 gives 28."),
        Ruling("shortage",
               "Missing positives are replaced by negatives; missing negatives by nothing; nothing is drawn twice."),
        Ruling("per-image", "The quota holds for each image, not for the batch."),
        Ruling("ties", "Of equal keys the first candidate's counts; with 64-bit random keys there are none."),
    ),
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.REDUCES_TO: "RS-5 has the cases in which nothing is left to choose", Kind.LIMIT: "no limit",
        Kind.CONSERVATION: "RS-2 counts what is drawn", Kind.EXTREME: "keys are plain numbers in [0, 1)",
    },
)  # fmt: skip
