"""Contracts of the prior-probability biases.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv 1708.02002), sections 3.3 and 4.1.
"""

from __future__ import annotations

import numpy as np

from steelyard.conformance.checking import Bench, bad_option, plain, purity, refuses, value
from steelyard.conformance.contract import (
    Array,
    Case,
    Kind,
    Level,
    Mutant,
    Option,
    Output,
    Requirement,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.soft_sampling.focal_inputs import PAPER, option
from steelyard.reference.logistic import sigmoid
from steelyard.reference.soft_sampling import prior_probability as oracle

_DTYPES = ("float64",)  # numbers in, numbers out: no working precision


def _prior(draw: Draw) -> float:
    return draw.integer(1, 99) / 100 if draw.flag(60) else draw.choice((0.01, 0.5, 0.001, 1e-5, 0.9))


def a_prior(draw: Draw) -> Case:
    """A probability inside (0, 1)."""
    return Case({}, {"prior": _prior(draw)}, draw.dtype(_DTYPES))


def a_tiny_prior(draw: Draw) -> Case:
    """A probability near an end."""
    return Case({}, {"prior": draw.choice((1e-12, 1e-30, 1e-300, 1 - 1e-12))}, draw.dtype(_DTYPES))


def classes_and_prior(draw: Draw) -> Case:
    """A number of classes and a prior."""
    return Case({}, {"num_classes": draw.choice((1, 2, 3, 20, 80)), "prior": _prior(draw)}, draw.dtype(_DTYPES))


def log_odds(case: Case) -> tuple[int, Array]:
    """The bias is a difference of two logarithms, which cancel at a prior of 1/2."""
    prior = option(case, "prior")
    return 2, np.asarray(abs(np.log(prior)) + abs(np.log1p(-prior)))


def logarithms(case: Case) -> tuple[int, Array]:
    """The background's bias is a sum of three logarithms, which cancel at a prior of C / (C + 1)."""
    num_classes = int(option(case, "num_classes"))
    background = np.log(num_classes) + log_odds(case)[1]
    return 3, np.append(np.zeros(num_classes), background)


def sigmoid_of_bias_is_prior(bench: Bench, case: Case) -> None:
    """The sigmoid of the bias is the prior again."""
    bias = np.asarray(bench.evaluate(case).outputs[0], dtype=np.float64)
    plain(bench, case, sigmoid(bias), np.asarray(option(case, "prior")), "sigmoid of the bias")


def softmax_of_biases(bench: Bench, case: Case) -> None:
    """The background has 1 - prior, each class an equal share of the prior."""
    biases = np.asarray(bench.evaluate(case).outputs[0], dtype=np.float64)
    shares = np.exp(biases - biases.max())
    classes, prior = biases.size - 1, option(case, "prior")
    wanted = np.append(np.full(classes, prior / classes), 1 - prior)
    plain(bench, case, shares / shares.sum(), wanted, "softmax of the biases")


def wrong_sign(*, prior: float) -> Array:
    return np.asarray(-oracle.prior_probability_bias(prior))


def only_the_logarithm(*, prior: float) -> Array:
    oracle.prior_probability_bias(prior)
    return np.asarray(np.log(prior))


def rounded_to_epsilon(*, prior: float) -> Array:
    oracle.prior_probability_bias(prior)
    return np.asarray(oracle.prior_probability_bias(min(max(prior, 1e-6), 1 - 1e-6)))


def unchecked(*, prior: float) -> Array:
    with np.errstate(all="ignore"):
        return np.asarray(np.log(np.float64(prior)) - np.log1p(-np.float64(prior)))


def prior_for_each_class(*, num_classes: int, prior: float) -> Array:
    biases = oracle.softmax_prior_probability_bias(num_classes, prior=prior)
    biases[-1] = -oracle.prior_probability_bias(prior)
    return biases


def background_first(*, num_classes: int, prior: float) -> Array:
    return oracle.softmax_prior_probability_bias(num_classes, prior=prior)[::-1].copy()


def no_class_unchecked(*, num_classes: int, prior: float) -> Array:
    return oracle.softmax_prior_probability_bias(max(num_classes, 1), prior=prior if 0 < prior < 1 else 0.5)


_NOT_APPLICABLE = {
    Kind.GRADIENT: "an initial value has no gradient",
    Kind.DETACHED: "an initial value has no gradient",
    Kind.REDUCES_TO: "nothing simpler to reduce to",
    Kind.LIMIT: "diverges at both ends; BIAS-3 looks near them",
    Kind.CONSERVATION: "conserves nothing",
    Kind.BOUND: "unbounded",
    Kind.TIES: "no threshold",
    Kind.EMPTY: "takes no array",
    Kind.BATCH: "takes no array",
    Kind.DISTRIBUTION: "not random",
}
_SAME_AS_FIRST = "a wrong bias breaks this law too; it names what the bias is for"

PRIOR_PROBABILITY_BIAS = Technique(
    id="prior_probability_bias",
    title="Prior-probability bias of a sigmoid head",
    family="soft_sampling",
    summary="The bias with which every class starts at probability prior.",
    sources=(PAPER + ", section 4.1",),
    oracle=oracle.prior_probability_bias,
    arguments=(),
    options=(Option("prior", 0.01, "probability of foreground at the start, in (0, 1)"),),
    outputs=(Output("bias", (), "float", "one number"),),
    requirements=(
        Requirement("BIAS-1", Level.MUST, Kind.VALUE, "The bias is -log((1 - prior) / prior).", "section 4.1", value,
                    a_prior, dtypes=_DTYPES, reaches={"the paper's 0.01": lambda c: c.options["prior"] == 0.01},
                    no_mutant="a wrong bias breaks BIAS-2 too, which says what it is for"),
        Requirement("BIAS-2", Level.MUST, Kind.INVARIANCE, "The sigmoid of the bias is the prior.", "section 4.1",
                    sigmoid_of_bias_is_prior, a_prior, dtypes=_DTYPES, no_mutant=_SAME_AS_FIRST),
        Requirement("BIAS-3", Level.MUST, Kind.EXTREME, "The value follows the formula near both ends.", "section 4.1",
                    value, a_tiny_prior, dtypes=_DTYPES, examples=0.3),
        Requirement("BIAS-4", Level.SHOULD, Kind.ERROR, "A prior of 0 or 1, or outside, is refused.", "house rule",
                    refuses(bad_option("prior", 0.0), bad_option("prior", 1.0), bad_option("prior", 1.5)), a_prior,
                    dtypes=_DTYPES, examples=0.2),
        Requirement("BIAS-5", Level.MUST, Kind.PURITY, "Equal calls give equal bits.", "house rule", purity, a_prior,
                    dtypes=_DTYPES, examples=0.2, no_mutant="a function of one number has little to be impure with"),
    ),
    mutants=(
        Mutant("prior-bias/wrong-sign", "the sign flipped: everything starts as foreground", wrong_sign),
        Mutant("prior-bias/only-the-logarithm", "log(prior) instead of the log-odds", only_the_logarithm),
        Mutant("prior-bias/clamped", "the prior cut to [1e-6, 1 - 1e-6]", rounded_to_epsilon),
        Mutant("prior-bias/unchecked", "no check of the prior", unchecked),
    ),
    summands=log_odds,
    not_applicable=_NOT_APPLICABLE,
)  # fmt: skip

SOFTMAX_PRIOR_PROBABILITY_BIAS = Technique(
    id="softmax_prior_probability_bias",
    title="Prior-probability biases of a softmax head",
    family="soft_sampling",
    summary="Biases with which the background starts at 1 - prior and every class at an equal share of prior.",
    sources=("Detectron's bias initialisation of RetinaNet's softmax head",),
    oracle=oracle.softmax_prior_probability_bias,
    arguments=(),
    options=(
        Option("num_classes", 80, "foreground classes, >= 1"),
        Option("prior", 0.01, "probability of all foreground together at the start, in (0, 1)"),
    ),
    outputs=(Output("biases", ("C+1",), "float", "0 for each class, then the background's"),),
    requirements=(
        Requirement("SBIAS-1", Level.MUST, Kind.VALUE, "Classes have 0, the background log(C (1 - prior) / prior).",
                    "Detectron", value, classes_and_prior, dtypes=_DTYPES,
                    reaches={"one class": lambda c: c.options["num_classes"] == 1},
                    no_mutant="wrong biases break SBIAS-2 too, which says what they are for"),
        Requirement("SBIAS-2", Level.MUST, Kind.CONSERVATION,
                    "The softmax gives the background 1 - prior and every class prior / C.", "Detectron",
                    softmax_of_biases, classes_and_prior, dtypes=_DTYPES, no_mutant=_SAME_AS_FIRST),
        Requirement("SBIAS-3", Level.SHOULD, Kind.ERROR, "No class, and a prior outside (0, 1), are refused.",
                    "house rule", refuses(bad_option("num_classes", 0), bad_option("prior", 0.0)), classes_and_prior,
                    dtypes=_DTYPES, examples=0.2),
        Requirement("SBIAS-4", Level.MUST, Kind.PURITY, "Equal calls give equal bits.", "house rule", purity,
                    classes_and_prior, dtypes=_DTYPES, examples=0.2,
                    no_mutant="a function of two numbers has little to be impure with"),
    ),
    mutants=(
        Mutant("softmax-prior/prior-for-each-class", "the sigmoid head's bias, without the number of classes",
               prior_for_each_class),
        Mutant("softmax-prior/background-first", "the background's bias in channel 0", background_first),
        Mutant("softmax-prior/unchecked", "no check of its arguments", no_class_unchecked),
    ),
    summands=logarithms,
    not_applicable=_NOT_APPLICABLE | {Kind.INVARIANCE: "SBIAS-2 says what the biases give", Kind.EXTREME: "as BIAS-3"},
)  # fmt: skip
