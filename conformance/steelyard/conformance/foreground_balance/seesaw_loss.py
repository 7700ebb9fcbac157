"""Contract of the seesaw loss.

Wang et al., "Seesaw Loss for Long-Tailed Instance Segmentation", CVPR 2021 (arXiv 2008.10032).
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steelyard.conformance.checking import (
    BadInput,
    Bench,
    bad_option,
    bad_shape,
    float_format,
    gradient,
    purity,
    reduces_to,
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
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.foreground_balance.seesaw_loss_mutants import MUTANTS
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import (
    FULL,
    HALF,
    option,
    textbook_derivative_error,
    textbook_error,
)
from steelyard.conformance.soft_sampling.softmax_laws import gradient_sums_to_zero
from steelyard.reference.foreground_balance import seesaw_loss as oracle

_WANG = 'Wang et al., "Seesaw Loss for Long-Tailed Instance Segmentation", CVPR 2021, arXiv 2008.10032'
_COUNTS = (50.0, 5.0, 500.0, 5000.0, 1.0, 3.0, 100_000.0)

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, logits: Array, dtype: str, *, lowest: int = 0, highest: int | None = None) -> Case:
    """One to four samples; the counts are at least those of the mini-batch, which they have in them."""
    samples, classes = logits.shape
    labels = draw.integers((samples,), lowest, classes - 1 if highest is None else highest)
    counts = draw.array((classes,), lambda: draw.choice(_COUNTS)).astype(np.int64)
    options: dict[str, OptionValue] = {
        "p": draw.choice((0.8, 0.5, 1.0, 2.0)), "q": draw.choice((2.0, 1.0, 0.5, 3.0)),
        "epsilon": draw.choice((0.01, 0.001, 0.1)),
    }  # fmt: skip
    seen = np.bincount(labels[(labels >= 0) & (labels < classes)], minlength=classes)
    arguments = {"logits": logits, "labels": labels, "counts": np.maximum(counts, seen)}
    return Case(arguments, options, dtype, draw.cotangent((samples,), dtype))


def _shape(draw: Draw) -> tuple[int, int]:
    return draw.integer(1, 4), draw.integer(2, 4)


def ordinary(draw: Draw) -> Case:
    """Foreground samples of two to four classes, seen once to 100,000 times; logits within 12."""
    dtype = draw.dtype()
    return _case(draw, draw.logits(_shape(draw), dtype), dtype)


def over_scored(draw: Draw) -> Case:
    """Another class has a higher score than the own one, by up to 2, and the own one is above the floor."""
    dtype = draw.dtype()
    case = _case(draw, draw.logits(_shape(draw), dtype, reach=2.0), dtype)
    return case.with_options(epsilon=0.001)


def without_a_floor(draw: Draw) -> Case:
    """The paper's ratio, with own scores down to e^-12."""
    return ordinary(draw).with_options(epsilon=None)


def without_mitigation(draw: Draw) -> Case:
    """P = 0."""
    return ordinary(draw).with_options(p=0.0)


def without_compensation(draw: Draw) -> Case:
    """Q = 0."""
    return ordinary(draw).with_options(q=0.0)


def equal_counts_and_scores(draw: Draw) -> Case:
    """Ties: classes seen equally often, and equal logits."""
    dtype = draw.dtype()
    logits = draw.integers(_shape(draw), 0, 1).astype(np.float64)
    case = _case(draw, logits, dtype)
    counts = draw.array((logits.shape[1],), lambda: draw.choice((50.0, 50.0, 5.0))).astype(np.int64)
    return case.with_arguments(counts=counts)


def unseen_classes(draw: Draw) -> Case:
    """Other classes were never seen, or once; samples of frequent ones among them."""
    case = ordinary(draw)
    labels, counts = case.arguments["labels"], case.arguments["counts"].copy()
    seen = np.bincount(labels, minlength=len(counts))
    rare = draw.integers((len(counts),), 0, 1)
    rare[draw.integer(0, len(counts) - 1)] = 0
    return case.with_arguments(counts=np.where(seen == 0, rare, counts))


def extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4."""
    dtype = draw.dtype()
    return _case(draw, draw.extreme_logits((draw.integer(1, 3), draw.integer(2, 3)), dtype, to_the_end=False), dtype)


def without_class(draw: Draw) -> Case:
    """Background and ignored samples among those of the foreground."""
    dtype = draw.dtype()
    logits = draw.logits((draw.integer(2, 5), draw.integer(2, 4)), dtype)
    case = _case(draw, logits, dtype, lowest=-1, highest=logits.shape[1])
    labels = case.arguments["labels"].copy()
    labels[0], labels[-1] = logits.shape[1], draw.choice((-1, 0))
    return case.with_arguments(labels=labels)


def no_sample(draw: Draw) -> Case:
    """An empty mini-batch, or one of background alone."""
    dtype = draw.dtype()
    case = _case(draw, np.zeros((draw.integer(0, 2), draw.integer(2, 4))), dtype)
    return case.with_arguments(labels=np.full_like(case.arguments["labels"], case.arguments["logits"].shape[1]))


def scene(seed: int) -> Case:
    """LVIS's 1,203 classes, seen 100,000 times to never; 24 foreground samples, most of them of frequent classes."""
    random = np.random.default_rng(seed)
    counts = np.floor(10 ** (5.0 * random.random(1203) ** 2)).astype(np.int64)
    counts[random.random(1203) < 0.02] = 0
    labels = random.choice(1203, 24, p=counts / counts.sum())
    logits = random.normal(0.0, 2.0, (24, 1203))
    logits[np.arange(24), labels] += random.normal(4.0, 4.0, 24)
    options: dict[str, OptionValue] = {"p": 0.8, "q": 2.0, "epsilon": 0.01}
    arguments = {"logits": round_to("float32", logits), "labels": labels, "counts": counts}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


# --- what practical formulas lose -----------------------------------------------------------------------------


def _margin_and_size(case: Case) -> tuple[Array, Array]:
    """Margin of every sample with its factors, and the size of the numbers that cancel in it.

    A factor is formed of ratios of counts and of a softmax, and its logarithm taken: the logarithms of the counts come
    in p times, those of the scores q times, and each score is off by as much as its logit is large.
    """
    z, label, counts = (case.arguments[name] for name in ("logits", "labels", "counts"))
    p, q = option(case, "p"), option(case, "q")
    loss = oracle.seesaw_loss(z, label, counts, **case.options)  # type: ignore[arg-type]
    with np.errstate(divide="ignore", over="ignore"):
        margin = -np.where(loss > 30.0, loss, np.log(np.expm1(np.minimum(loss, 30.0))))  # the inverse of softplus
    logits = np.abs(z).max(axis=1, initial=0.0)
    largest = np.log(max(float(counts.max(initial=1)), 1.0))
    return np.nan_to_num(margin, posinf=1e4), logits + p * largest + q * (2.0 * logits + np.log(z.shape[1]))


def practical_error(case: Case, u: float) -> Array:
    """Of the cross entropy at the moved logits."""
    margin, size = _margin_and_size(case)
    return textbook_error(margin, 0.0, size, u)


def practical_gradient_error(case: Case, u: float) -> Array:
    """The gradient's: every class's derivative is at most that by the margin."""
    margin, size = _margin_and_size(case)
    error = textbook_derivative_error(margin, 0.0, size, u)
    if case.cotangent is not None:
        error = error * np.abs(case.cotangent)
    return np.asarray(np.broadcast_to(error[:, np.newaxis], case.arguments["logits"].shape))


# --- laws -----------------------------------------------------------------------------------------------------


def cross_entropy(case: Case) -> Array:
    """From the definition."""
    z, label = case.arguments["logits"], case.arguments["labels"]
    own = np.take_along_axis(z, label[:, np.newaxis], axis=1)
    return np.asarray(np.logaddexp.reduce(z - own, axis=1))


def no_more_than_cross_entropy(bench: Bench, case: Case) -> None:
    """Mitigation alone lowers the loss."""
    _on_one_side(bench, case, np.maximum, "value above CE")


def no_less_than_cross_entropy(bench: Bench, case: Case) -> None:
    """Compensation alone raises it."""
    _on_one_side(bench, case, np.minimum, "value below CE")


def _on_one_side(bench: Bench, case: Case, beyond: Callable[[Array, Array], Array], what: str) -> None:
    """The part beyond the cross entropy is nothing, up to the bound of the value."""
    answer, limit = bench.evaluate(case), cross_entropy(case)
    dtype = float_format(answer.dtypes[0], case)
    found = beyond(answer.outputs[0].astype(np.float64), limit)
    bench.expect_close(case, found, limit, bench.bounds(case, dtype), dtype, what)


def reversed_samples(case: Case) -> Case:
    """Samples in reverse; the counts stay."""
    return case.with_arguments(**{name: case.arguments[name][::-1].copy() for name in ("logits", "labels")})


def doubled_counts(case: Case) -> Case:
    """Every class was seen twice as often."""
    return case.with_arguments(counts=2 * case.arguments["counts"])


def renamed(case: Case) -> Case:
    """Class c is called C - 1 - c."""
    z, label, counts = (case.arguments[name] for name in ("logits", "labels", "counts"))
    return case.with_arguments(
        logits=z[:, ::-1].copy(), labels=z.shape[1] - 1 - label, counts=counts[::-1].copy()
    )  # fmt: skip


# --- contract -------------------------------------------------------------------------------------------------

_ONE_FACTOR = "a factor that is wrong alone is wrong beside the other too; a failure here says which one it is"
_IMPLIED = "implied by SSW-1; kept because a failure then names the law that is broken"
_ELSEWHERE = (
    "a wrong factor is wrong in the scene, among ties and without the other factor too; this names the ordinary"
)
_OWN_NUMBER = BadInput("counts of one class too many", lambda case: case.with_arguments(
    counts=np.concatenate([case.arguments["counts"], [1]])))  # fmt: skip

SEESAW_LOSS = Technique(
    id="seesaw_loss",
    title="Seesaw loss",
    family="foreground_balance",
    summary="Cross entropy in which rare classes are pushed less by frequent ones, and more where over-scored.",
    sources=(_WANG, "MMDetection's SeesawLoss (the authors' program: counts, floor)"),
    oracle=oracle.seesaw_loss,
    gradients={"logits": oracle.seesaw_loss_grad},
    arguments=(
        Argument("logits", ("R", "C"), "float", "scores of the foreground classes before the softmax",
                 differentiable=True),
        Argument("labels", ("R",), "int", "0..C-1 foreground, C background, -1 ignore"),
        Argument("counts", ("C",), "int", "samples of each class seen so far, the mini-batch's among them, >= 0"),
    ),
    options=(
        Option("p", 0.8, "exponent of the mitigation, >= 0; 0 is off"),
        Option("q", 2.0, "exponent of the compensation, >= 0; 0 is off"),
        Option("epsilon", 0.01, "floor of the own score as a divisor, in [0, 1]; None: none, as in the paper"),
    ),
    outputs=(Output("loss", ("R",), "float", "one loss a sample, not reduced"),),
    practical_error=practical_error,
    practical_gradient_error=practical_gradient_error,
    requirements=(
        Requirement("SSW-1", Level.MUST, Kind.VALUE,
                    "The loss is the cross entropy with other classes' exponentials times M and C.",
                    "seesaw loss", value, ordinary, scenes=(scene,), dtypes=FULL,
                    reaches={"a rarer class": lambda c: bool((c.arguments["counts"] < c.arguments["counts"][
                        c.arguments["labels"]].max(initial=0)).any()),
                             "a class that is not over-scored": lambda c: bool((cross_entropy(c) < 0.5).any())}),
        Requirement("SSW-2", Level.MUST, Kind.GRADIENT, "The gradient is the moved softmax minus the one-hot label.",
                    "seesaw loss, its derivative", gradient("logits"), ordinary, scenes=(scene,), needs_gradient=True,
                    dtypes=FULL, no_mutant="a wrong value has a wrong gradient; SSW-3 sees the rest"),
        Requirement("SSW-3", Level.MUST, Kind.DETACHED, "No derivative passes through the scores in the factors.",
                    "authors' code", gradient("logits"), over_scored, needs_gradient=True, dtypes=FULL,
                    reaches={"an over-scored class": lambda c: bool((cross_entropy(c) > np.log(2.0)).any())},
                    no_mutant="SSW-2 has such samples too; a failure here says where it comes from"),
        Requirement("SSW-4", Level.MUST, Kind.REDUCES_TO, "With p and q 0 it is the cross entropy.", "seesaw loss",
                    reduces_to(cross_entropy, p=0.0, q=0.0), ordinary, options=("p", "q"), dtypes=FULL,
                    examples=0.3, no_mutant="SSW-5 and SSW-6 have one of the two at 0 each"),
        Requirement("SSW-5", Level.MUST, Kind.BOUND, "Mitigation alone gives no more than the cross entropy.",
                    "mitigation factor", no_more_than_cross_entropy, without_compensation, options=("q",), dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("SSW-6", Level.MUST, Kind.BOUND, "Compensation alone gives no less than the cross entropy.",
                    "compensation factor", no_less_than_cross_entropy, without_mitigation, options=("p",), dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("SSW-7", Level.MUST, Kind.VALUE, "With q 0 the counts alone move the scores, as they do.",
                    "mitigation factor", value, without_compensation, options=("q",), dtypes=FULL, examples=0.5,
                    no_mutant=_ONE_FACTOR),
        Requirement("SSW-8", Level.MUST, Kind.VALUE, "With p 0 the scores alone do.", "compensation factor", value,
                    without_mitigation, options=("p",), dtypes=FULL, examples=0.5, no_mutant=_ONE_FACTOR),
        Requirement("SSW-9", Level.MUST, Kind.TIES, "Classes seen equally often or with equal scores have a factor 1.",
                    "mitigation and compensation factors", value, equal_counts_and_scores, dtypes=FULL, examples=0.5,
                    no_mutant=_ELSEWHERE),
        Requirement("SSW-10", Level.MUST, Kind.EMPTY, "A class that was never seen counts as seen once.",
                    "ruling unseen", value, unseen_classes, dtypes=FULL, examples=0.5,
                    reaches={"an unseen class": lambda c: bool((c.arguments["counts"] == 0).any())},
                    no_mutant="the scene has such classes too; here nothing else is tried"),
        Requirement("SSW-11", Level.MUST, Kind.LIMIT, "Without a floor the compensation is the paper's.",
                    "compensation factor", value, without_a_floor, options=("epsilon",), dtypes=FULL, examples=0.5),
        Requirement("SSW-12", Level.MUST, Kind.EXTREME, "The value follows the formula for logits up to 10^4.",
                    "ruling no-clamp", value, extreme, dtypes=FULL,
                    no_mutant="a value that overflows has a gradient that does too, which SSW-13 sees"),
        Requirement("SSW-13", Level.MUST, Kind.EXTREME, "The gradient is finite and right there.", "ruling no-clamp",
                    gradient("logits"), extreme, needs_gradient=True, dtypes=FULL),
        Requirement("SSW-14", Level.SHOULD, Kind.EXTREME,
                    "Half-precision logits give the value computed in float32, whatever the counts are.",
                    "ruling half-precision", value, ordinary, dtypes=HALF,
                    reaches={"a count beyond float16": lambda c: bool((c.arguments["counts"] > 65_504).any())}),
        Requirement("SSW-15", Level.SHOULD, Kind.EXTREME, "Half-precision logits give the gradient of float32.",
                    "ruling half-precision", gradient("logits"), ordinary, needs_gradient=True, dtypes=HALF),
        Requirement("SSW-16", Level.MUST, Kind.EMPTY, "Background and ignored samples have loss 0.",
                    "ruling background", value, without_class, dtypes=FULL, examples=0.5,
                    no_mutant="what is wrong with the value is wrong with its gradient too, which SSW-17 sees"),
        Requirement("SSW-17", Level.MUST, Kind.DETACHED, "And the gradient 0.", "ruling background",
                    gradient("logits"), without_class, needs_gradient=True, dtypes=FULL, examples=0.5),
        Requirement("SSW-18", Level.MUST, Kind.EMPTY, "No sample gives no losses, background alone gives zeros.",
                    "house rule", value, no_sample, dtypes=FULL, examples=0.2),
        Requirement("SSW-19", Level.MUST, Kind.CONSERVATION, "The gradient of a sample sums to 0.",
                    "derivative of the softmax", gradient_sums_to_zero("logits"), ordinary, needs_gradient=True,
                    dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("SSW-20", Level.MUST, Kind.INVARIANCE, "Only the ratios of the counts matter.", "mitigation factor",
                    same_as(doubled_counts, "value with doubled counts"), ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("SSW-21", Level.MUST, Kind.INVARIANCE, "Other names of the classes change nothing.", "seesaw loss",
                    same_as(renamed, "value with other names"), ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("SSW-22", Level.MUST, Kind.INVARIANCE, "Samples in another order have their losses in that order.",
                    "seesaw loss", same_as(reversed_samples, "values in reverse", lambda output, _: output[::-1]),
                    ordinary, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("SSW-23", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, ordinary, dtypes=FULL, examples=0.3),
        Requirement("SSW-24", Level.SHOULD, Kind.ERROR, "Labels and counts that do not fit the logits are refused.",
                    "house rule", refuses(bad_shape("labels"), _OWN_NUMBER, without_axes("logits", "labels")), ordinary,
                    dtypes=FULL, examples=0.2),
        Requirement("SSW-25", Level.MAY, Kind.ERROR, "A negative p or q and an epsilon outside [0, 1] are refused.",
                    "house rule", refuses(bad_option("p", -1.0), bad_option("q", -1.0), bad_option("epsilon", 1.5)),
                    ordinary, dtypes=FULL, examples=0.2),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("counts", "The counts have the mini-batch in them: training counts it first (authors' code)."),
        Ruling("unseen", "A count below 1 is 1: no ratio is infinite or 0 (authors' code)."),
        Ruling("floor", "As a divisor the own score is at least epsilon (authors' code: 0.01); the paper has none."),
        Ruling("background", "Whether there is an object is a loss of its own: background has no class loss."),
        Ruling("no-clamp", "Logits are not clamped, and the logarithm of a factor is added, never its power formed."),
        Ruling("half-precision", "float16 and bfloat16 are computed in float32, the counts too."),
    ),
    not_applicable={
        Kind.BATCH: "sample by sample: SSW-22", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
