"""Contract of the sigmoid focal loss, from binary targets and from class labels.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv 1708.02002), equations 3 to 5 and
appendix B.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from steelyard.conformance.checking import (
    BadInput,
    Bench,
    bad_option,
    bad_shape,
    batch_equals_per_image,
    gradient,
    padding,
    permutation,
    plain,
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
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import PRECISIONS, round_to
from steelyard.conformance.soft_sampling.focal_inputs import (
    FULL,
    HALF,
    PAPER,
    draw_alpha,
    draw_gamma,
    option,
    textbook_derivative_error,
    textbook_error,
)
from steelyard.conformance.soft_sampling.focal_loss_mutants import LABEL_MUTANTS, MUTANTS
from steelyard.reference.soft_sampling import focal_loss as oracle

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, logits: Array, dtype: str, *, alpha: float | None, gamma: float) -> Case:
    targets = draw.integers(logits.shape, 0, 1)
    options = {"alpha": alpha, "gamma": gamma}
    return Case({"logits": logits, "targets": targets}, options, dtype, draw.cotangent(logits.shape, dtype))


def moderate(draw: Draw) -> Case:
    """Logits within 12, where probabilities keep their digits."""
    dtype = draw.dtype()
    logits = draw.logits(draw.shape(draw.integer(1, 2)), dtype)
    return _case(draw, logits, dtype, alpha=draw_alpha(draw), gamma=draw_gamma(draw))


def moderate_in_half(draw: Draw) -> Case:
    """The same with one logit, in half of the cases, beyond which exp is infinite in float16: 11.09."""
    case = moderate(draw).with_options(gamma=draw.choice((2.0, 1.0, 5.0)))
    logits = case.arguments["logits"].copy()
    if logits.size:
        logits.flat[0] = draw.choice((logits.flat[0], logits.flat[0], -11.5, 11.5))
    return replace(case, arguments={**case.arguments, "logits": logits})


def alpha_at_its_ends(draw: Draw) -> Case:
    """Alpha None, 0 or 1."""
    return moderate(draw).with_options(alpha=draw.choice((None, 0.0, 1.0)))


def extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4, and subnormal ones."""
    return _extreme(draw, to_the_end=False)


def to_the_end(draw: Draw) -> Case:
    """Logits from 15 to the end of the format, and subnormal ones."""
    return _extreme(draw, to_the_end=True)


def at_the_end(draw: Draw) -> Case:
    """One logit at the end of the format, where gamma times it overflows."""
    case = moderate(draw)
    largest = PRECISIONS[case.dtype].largest
    end = draw.choice((largest, -largest, largest / 2, -largest / 2))
    logits = case.arguments["logits"].copy()
    logits.flat[0] = end
    return replace(case, arguments={**case.arguments, "logits": logits}).with_options(
        gamma=draw.choice((2.0, 1.0, 5.0))
    )


def _extreme(draw: Draw, *, to_the_end: bool) -> Case:
    dtype = draw.dtype()
    logits = draw.extreme_logits(draw.shape(1, high=5), dtype, to_the_end=to_the_end)
    return _case(draw, logits, dtype, alpha=draw_alpha(draw), gamma=draw.choice((2.0, 1.0, 5.0, 1.5)))


def extreme_small_gamma(draw: Draw) -> Case:
    """The same, with gamma in (0, 1)."""
    return extreme(draw).with_options(gamma=draw.choice((0.5, 0.25, 0.75, 0.9, 0.1)))


def extreme_without_focus(draw: Draw) -> Case:
    """The same, with gamma 0."""
    return extreme(draw).with_options(gamma=0.0)


def not_finite(draw: Draw) -> Case:
    """One NaN among ordinary logits, or infinite ones."""
    case = moderate(draw)
    logits = case.arguments["logits"].copy()
    logits.flat[draw.integer(0, min(logits.size, 100) - 1)] = draw.choice((np.nan, np.inf, -np.inf))
    return case.with_arguments(logits=logits)


def not_finite_or_focused(draw: Draw) -> Case:
    """The same, also at gamma 0, where 0 times infinity lurks."""
    return not_finite(draw).with_options(gamma=draw.choice((2.0, 0.0, 0.5, 1.0)))


def empty(draw: Draw) -> Case:
    """No element at all, in one or more axes."""
    dtype = draw.dtype()
    shape = draw.choice(((0,), (0, 3), (2, 0), (0, 4, 2)))
    return _case(draw, np.zeros(shape), dtype, alpha=draw_alpha(draw), gamma=draw_gamma(draw))


def skewed_scene(seed: int) -> Case:
    """20,000 elements with one positive in a thousand, as a trained detector scores them."""
    random = np.random.default_rng(seed)
    shape = (2, 500, 20)
    targets = (random.random(shape) < 1e-3).astype(np.int64)
    logits = np.where(targets == 1, random.normal(-1.0, 2.0, shape), random.normal(-5.5, 1.5, shape))
    return Case(
        {"logits": round_to("float32", logits), "targets": targets}, {"alpha": 0.25, "gamma": 2.0}, "float32",
        origin=f"scene {seed}",
    )  # fmt: skip


# --- what practical formulas lose -----------------------------------------------------------------------------


def _error_at(case: Case, y: Array) -> tuple[Array, Array, float, Array]:
    """alpha_t, signed logit, gamma, size of the numbers that cancel in the cross entropy."""
    x, alpha = case.arguments["logits"], case.options["alpha"]
    alpha_t = np.ones(y.shape) if alpha is None else np.where(y, alpha, 1.0 - float(alpha))
    return alpha_t, np.where(y, x, -x), option(case, "gamma"), np.abs(x)


def practical_error(case: Case, u: float, y: Array | None = None) -> Array:
    """alpha_t times the error of the textbook formula."""
    y = case.arguments["targets"] == 1 if y is None else y
    alpha_t, t, gamma, size = _error_at(case, y)
    return alpha_t * textbook_error(t, gamma, size, u)


def practical_gradient_error(case: Case, u: float, y: Array | None = None) -> Array:
    """The gradient's, from the same sources."""
    y = case.arguments["targets"] == 1 if y is None else y
    alpha_t, t, gamma, size = _error_at(case, y)
    error = alpha_t * textbook_derivative_error(t, gamma, size, u)
    return error if case.cotangent is None else error * np.abs(case.cotangent)


# --- laws -----------------------------------------------------------------------------------------------------


def half_of_cross_entropy(case: Case) -> Array:
    """Binary cross entropy over two, from the definition of the logarithms."""
    x, y = case.arguments["logits"], case.arguments["targets"]
    return np.asarray(np.logaddexp(0.0, np.where(y == 1, -x, x)) / 2)


def mirrored(case: Case) -> Case:
    """Logits and targets of the other sign, alpha of the other class."""
    alpha = case.options["alpha"]
    changed = case.with_arguments(logits=-case.arguments["logits"], targets=1 - case.arguments["targets"])
    return changed if alpha is None else changed.with_options(alpha=1.0 - float(alpha))


def between_zero_and_cross_entropy(bench: Bench, case: Case) -> None:
    """0 <= FL <= alpha_t CE, up to the bound."""
    answer = bench.evaluate(case)
    loss = np.asarray(answer.outputs[0], dtype=np.float64)
    x, y = case.arguments["logits"], case.arguments["targets"] == 1
    alpha = case.options["alpha"]
    alpha_t = 1.0 if alpha is None else np.where(y, alpha, 1.0 - float(alpha))
    highest = alpha_t * np.logaddexp(0.0, np.where(y, -x, x))
    plain(bench, case, np.minimum(loss, 0.0), np.zeros(loss.shape), "part below 0")
    plain(bench, case, np.maximum(loss, highest), np.maximum(highest, bench.oracle(case)[0]), "value above CE")


# --- reaches: hard places that the generators must find -------------------------------------------------------


def _any_logit(condition: str) -> dict[str, Callable[[Case], bool]]:
    tests: dict[str, Callable[[Array, Array], np.bool]] = {
        "a logit that is exactly 0": lambda x, _: (x == 0).any(),
        "both signs of a logit": lambda x, _: (x > 0).any() and (x < 0).any(),
        "a logit beyond 90": lambda x, _: (np.abs(x) > 90).any(),
        "a logit beyond exp's range in float64": lambda x, _: (np.abs(x) > 745).any(),
        "a subnormal or smallest logit": lambda x, _: ((x != 0) & (np.abs(x) < 1e-4)).any(),
        "a hard positive beyond 17": lambda x, y: ((x < -17) & (y == 1)).any(),
        "an easy positive beyond 17": lambda x, y: ((x > 17) & (y == 1)).any(),
    }
    test = tests[condition]
    return {condition: lambda case: bool(test(case.arguments["logits"], case.arguments["targets"]))}


def _option(name: str, wanted: object) -> dict[str, Callable[[Case], bool]]:
    return {f"{name} = {wanted}": lambda case: case.options[name] == wanted}


_ORDINARY = {
    **_any_logit("a logit that is exactly 0"),
    **_any_logit("both signs of a logit"),
    "gamma in (0, 1)": lambda case: 0 < case.options["gamma"] < 1,
    "only positives": lambda case: bool((case.arguments["targets"] == 1).all()),
    "no positive": lambda case: bool((case.arguments["targets"] == 0).all()),
    "one element": lambda case: case.arguments["logits"].size == 1,
    "an upstream gradient that is not 1": lambda case: case.cotangent is not None and bool((case.cotangent != 1).any()),
}
_EXTREME = {
    **_any_logit("a logit beyond 90"),
    **_any_logit("a logit beyond exp's range in float64"),
    **_any_logit("a subnormal or smallest logit"),
    **_any_logit("a hard positive beyond 17"),
    **_any_logit("an easy positive beyond 17"),
}
_IMPLIED = "implied by {}; kept because a failure then names the law that is broken"

_BOTH_GAMMAS = "a gradient that is lost at gamma >= 1 is lost below 1 too, where {} sees it; not the other way round"

_OPTIONS = (
    Option("alpha", 0.25, "weight of the positives, in [0, 1]; the negatives have 1 - alpha; None: no weights"),
    Option("gamma", 2.0, "focusing exponent, >= 0; 0 is cross entropy"),
)


def _softened(case: Case) -> Case:
    shape = case.arguments["targets"].shape
    return case.with_arguments(logits=np.full(shape, 2.0), targets=np.full(shape, 0.7))


_SOFT_TARGETS = BadInput("targets of 0.7 at logits of 2", _softened)

_RULINGS = (
    Ruling("alpha-by-element", "alpha weighs elements: in a positive anchor the channels of the wrong classes are "
           "negatives and weigh 1 - alpha. None weighs both 1 (not 1/2); 0 and 1 are legal."),
    Ruling("hard-targets", "Targets are 0 or 1: the paper defines no loss for soft ones, and libraries disagree."),
    Ruling("no-clamp", "The value follows the formula up to the end of the format; no epsilon, no clamp."),
    Ruling("finite-gradient", "The gradient is finite for every gamma, also in (0, 1) where 1 - p_t rounds to 0."),
    Ruling("half-precision", "float16 and bfloat16 are computed in float32: in float16 1 - p is 0 from x = 7.6 on."),
    Ruling("nothing-detached", "The modulating factor is differentiated (appendix B), not a constant weight."),
)  # fmt: skip

SIGMOID_FOCAL_LOSS = Technique(
    id="sigmoid_focal_loss",
    title="Sigmoid focal loss",
    family="soft_sampling",
    summary="Cross entropy times (1 - p_t)^gamma: easy elements count almost nothing.",
    sources=(PAPER,),
    oracle=oracle.sigmoid_focal_loss,
    gradients={"logits": oracle.sigmoid_focal_loss_grad},
    arguments=(
        Argument("logits", ("...",), "float", "scores before the sigmoid", differentiable=True),
        Argument("targets", ("...",), "int", "1 for the true class of a foreground anchor, else 0"),
    ),
    options=_OPTIONS,
    outputs=(Output("loss", ("...",), "float", "element losses, not reduced"),),
    practical_error=practical_error,
    practical_gradient_error=practical_gradient_error,
    requirements=(
        Requirement("FL-1", Level.MUST, Kind.VALUE, "Each element is -alpha_t (1 - p_t)^gamma log(p_t).",
                    "equation 5", value, moderate, scenes=(skewed_scene,), reaches=_ORDINARY, dtypes=FULL),
        Requirement("FL-2", Level.MUST, Kind.GRADIENT,
                    "The gradient is that of the whole expression, times the upstream gradient.",
                    "appendix B, equation 10", gradient("logits"), moderate, scenes=(skewed_scene,),
                    reaches=_ORDINARY, needs_gradient=True, dtypes=FULL),
        Requirement("FL-3", Level.MUST, Kind.REDUCES_TO, "With gamma 0 and alpha 1/2 it is half the cross entropy.",
                    "equations 3 and 5", reduces_to(half_of_cross_entropy, alpha=0.5, gamma=0.0), moderate,
                    options=("alpha", "gamma"), dtypes=FULL),
        Requirement("FL-4", Level.MUST, Kind.TIES,
                    "alpha None weighs both classes 1; alpha 0 silences the positives, alpha 1 the negatives.",
                    "ruling alpha-by-element", value, alpha_at_its_ends, options=("alpha",), dtypes=FULL,
                    reaches={**_option("alpha", None), **_option("alpha", 0.0), **_option("alpha", 1.0)}),
        Requirement("FL-5", Level.MUST, Kind.EXTREME,
                    "The value follows the formula for logits up to the end of the format.",
                    "ruling no-clamp", value, to_the_end, reaches=_EXTREME, dtypes=FULL),
        Requirement("FL-6", Level.MUST, Kind.EXTREME,
                    "The gradient follows its formula for logits up to 10^4, at gamma >= 1.",
                    "ruling no-clamp", gradient("logits"), extreme, reaches=_EXTREME, needs_gradient=True,
                    dtypes=FULL, no_mutant=_BOTH_GAMMAS.format("FL-7")),
        Requirement("FL-7", Level.MUST, Kind.EXTREME,
                    "At gamma in (0, 1) the gradient is finite also where 1 - p_t rounds to 0.",
                    "ruling finite-gradient", gradient("logits"), extreme_small_gamma, reaches=_EXTREME,
                    needs_gradient=True, options=("gamma",), dtypes=FULL),
        Requirement("FL-8", Level.SHOULD, Kind.EXTREME, "Half-precision logits give the value computed in float32.",
                    "ruling half-precision", value, moderate, dtypes=HALF),
        Requirement("FL-9", Level.SHOULD, Kind.EXTREME,
                    "Half-precision logits give the gradient computed in float32, at gamma >= 1.",
                    "ruling half-precision", gradient("logits"), moderate_in_half, needs_gradient=True, dtypes=HALF,
                    reaches={"beyond exp in float16": lambda c: bool((np.abs(c.arguments["logits"]) > 11.09).any())}),
        Requirement("FL-10", Level.MUST, Kind.INVARIANCE,
                    "A positive at x with alpha has the loss of a negative at -x with 1 - alpha.",
                    "equations 2 to 5", same_as(mirrored, "value of the mirrored case"), moderate,
                    dtypes=FULL, no_mutant=_IMPLIED.format("FL-1"), examples=0.3),
        Requirement("FL-11", Level.MUST, Kind.BOUND, "The loss lies between 0 and alpha_t times the cross entropy.",
                    "section 3.2", between_zero_and_cross_entropy, moderate, dtypes=FULL,
                    no_mutant=_IMPLIED.format("FL-1"), examples=0.3),
        Requirement("FL-12", Level.MUST, Kind.BATCH, "A batch gives what its rows give one by one.",
                    "section 3.2: the loss is a sum over anchors", batch_equals_per_image, moderate, dtypes=FULL,
                    no_mutant=_IMPLIED.format("FL-1, for its inputs have one row and several"), examples=0.3),
        Requirement("FL-13", Level.MUST, Kind.INVARIANCE, "Reordering the elements reorders the losses.",
                    "section 3.2", permutation, moderate, dtypes=FULL, no_mutant=_IMPLIED.format("FL-1"),
                    examples=0.3),
        Requirement("FL-14", Level.MUST, Kind.EMPTY, "No elements give no losses, in the same shape.",
                    "ruling: an image without anchors is legal", value, empty, dtypes=FULL, examples=0.2),
        Requirement("FL-15", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity,
                    moderate, dtypes=FULL, examples=0.3),
        Requirement("FL-16", Level.SHOULD, Kind.ERROR, "Targets of another shape than the logits' are refused.",
                    "house rule", refuses(bad_shape("targets")), moderate, dtypes=FULL, examples=0.2),
        Requirement("FL-17", Level.MAY, Kind.EXTREME,
                    "NaN stays in its element; an infinite logit gives the limit.", "ruling no-clamp", value,
                    not_finite, dtypes=FULL, examples=0.5),
        Requirement("FL-18", Level.MAY, Kind.ERROR, "A negative gamma and an alpha outside [0, 1] are refused.",
                    "house rule", refuses(bad_option("gamma", -1.0), bad_option("alpha", 1.5)), moderate, dtypes=FULL,
                    examples=0.2),
        Requirement("FL-19", Level.MAY, Kind.EXTREME,
                    "The gradient follows its formula at the end of the format, where gamma x overflows.",
                    "ruling no-clamp", gradient("logits"), at_the_end, needs_gradient=True, dtypes=FULL,
                    examples=0.5),
        Requirement("FL-20", Level.MUST, Kind.EXTREME,
                    "At gamma 0 the gradient is that of weighted cross entropy, also where 1 - p_t rounds to 0.",
                    "ruling finite-gradient", gradient("logits"), extreme_without_focus, needs_gradient=True,
                    options=("gamma",), dtypes=FULL, examples=0.5),
        Requirement("FL-21", Level.MAY, Kind.EXTREME,
                    "The gradient stays finite for an infinite logit; NaN stays in its element.", "ruling no-clamp",
                    gradient("logits"), not_finite_or_focused, needs_gradient=True, dtypes=FULL, examples=0.5),
        Requirement("FL-22", Level.MAY, Kind.ERROR, "A target between 0 and 1 is refused, by its value or its type.",
                    "ruling hard-targets", refuses(_SOFT_TARGETS), moderate, dtypes=FULL, examples=0.2),
    ),
    mutants=MUTANTS,
    rulings=_RULINGS,
    not_applicable={
        Kind.DETACHED: "nothing is detached; FL-2 catches an implementation that detaches the factor",
        Kind.LIMIT: "FL-5 and FL-6 compare with the formula itself at both ends of the format",
        Kind.CONSERVATION: "element losses conserve nothing",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip


# --- from class labels ----------------------------------------------------------------------------------------


def _one_hot(case: Case) -> Array:
    return np.asarray(case.arguments["labels"][..., None] == np.arange(case.arguments["logits"].shape[-1]))


def _counted(case: Case) -> Array:
    return np.asarray((case.arguments["labels"] != -1)[..., None])


def practical_error_with_labels(case: Case, u: float) -> Array:
    """As for binary targets."""
    return practical_error(case, u, _one_hot(case))


def practical_gradient_error_with_labels(case: Case, u: float) -> Array:
    """As for binary targets."""
    return practical_gradient_error(case, u, _one_hot(case))


def _labelled(draw: Draw, logits: Array, dtype: str, *, gamma: float, lowest: int = 0) -> Case:
    labels = draw.integers(logits.shape[:-1], lowest, logits.shape[-1])
    options = {"alpha": draw_alpha(draw), "gamma": gamma}
    return Case({"logits": logits, "labels": labels}, options, dtype, draw.cotangent(logits.shape, dtype))


def labelled(draw: Draw) -> Case:
    """Foreground and background anchors, logits within 12."""
    dtype = draw.dtype()
    return _labelled(draw, draw.logits(draw.shape(draw.integer(2, 3), high=3), dtype), dtype, gamma=draw_gamma(draw))


def labelled_some_ignored(draw: Draw) -> Case:
    """The same with ignored anchors."""
    dtype = draw.dtype()
    logits = draw.logits(draw.shape(draw.integer(2, 3), high=3), dtype)
    return _labelled(draw, logits, dtype, gamma=draw_gamma(draw), lowest=-1)


def labelled_ignored_not_finite(draw: Draw) -> Case:
    """Ignored anchors whose logits are NaN or infinite."""
    case = labelled_some_ignored(draw)
    labels = case.arguments["labels"].copy()
    labels.flat[0] = -1
    spoilt = np.where((labels == -1)[..., None], draw.choice((np.nan, np.inf, -np.inf)), case.arguments["logits"])
    return case.with_arguments(logits=spoilt, labels=labels)


def labelled_extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4, and subnormal ones."""
    dtype = draw.dtype()
    return _labelled(
        draw,
        draw.extreme_logits(draw.shape(2, high=3), dtype, to_the_end=False),
        dtype,
        gamma=draw.choice((2.0, 1.0, 5.0)),
    )


def labelled_extreme_small_gamma(draw: Draw) -> Case:
    """The same with gamma in (0, 1)."""
    return labelled_extreme(draw).with_options(gamma=draw.choice((0.5, 0.25, 0.75, 0.9)))


def labelled_empty(draw: Draw) -> Case:
    """No anchor, or no image."""
    dtype = draw.dtype()
    return _labelled(draw, np.zeros(draw.choice(((0, 3), (2, 0, 3), (0, 4, 2)))), dtype, gamma=draw_gamma(draw))


def labelled_scene(seed: int) -> Case:
    """Two images of 400 anchors over 20 classes of power-law frequency: background, few foreground."""
    random = np.random.default_rng(seed)
    frequency = 1.0 / np.arange(1, 21) ** 1.5
    labels = np.full((2, 400), 20)
    foreground = random.random(labels.shape) < 2e-3
    foreground[:, 0] = True
    labels[foreground] = random.choice(20, foreground.sum(), p=frequency / frequency.sum())
    logits = random.normal(-5.5, 1.5, (*labels.shape, 20))
    options = {"alpha": 0.25, "gamma": 2.0}
    return Case({"logits": round_to("float32", logits), "labels": labels}, options, "float32", origin=f"scene {seed}")


def loss_of_one_hot(bench: Bench, case: Case) -> None:
    """Equal to the binary form on the one-hot targets, written out anchor by anchor."""
    answer = bench.evaluate(case)
    dtype = answer.dtypes[0] if answer.dtypes[0] in (*FULL, *HALF) else case.dtype
    x, options = case.arguments["logits"], case.options
    binary = oracle.sigmoid_focal_loss(x, _one_hot(case), alpha=options["alpha"], gamma=options["gamma"])  # type: ignore[arg-type]
    bench.expect_close(
        case, answer.outputs[0], binary, bench.bounds(case, dtype), dtype, "value of the one-hot targets"
    )


_LABELS = {
    "a background anchor": lambda case: bool((case.arguments["labels"] == case.arguments["logits"].shape[-1]).any()),
    "a foreground anchor": lambda case: bool(
        ((case.arguments["labels"] >= 0) & (case.arguments["labels"] < case.arguments["logits"].shape[-1])).any()
    ),
    "one class": lambda case: case.arguments["logits"].shape[-1] == 1,
    "no foreground": lambda case: bool((case.arguments["labels"] >= case.arguments["logits"].shape[-1]).all()),
}
_IGNORED = {
    "an ignored anchor": lambda case: bool((case.arguments["labels"] == -1).any()),
    "only ignored anchors": lambda case: bool((case.arguments["labels"] == -1).all()),
}

SIGMOID_FOCAL_LOSS_WITH_LABELS = replace(
    SIGMOID_FOCAL_LOSS,
    id="sigmoid_focal_loss_with_labels",
    title="Sigmoid focal loss from class labels",
    summary="The sigmoid focal loss of anchors, each with one class id, background or ignored.",
    oracle=oracle.sigmoid_focal_loss_with_labels,
    gradients={"logits": oracle.sigmoid_focal_loss_with_labels_grad},
    arguments=(
        Argument("logits", ("...", "C"), "float", "scores before the sigmoid", differentiable=True),
        Argument("labels", ("...",), "int", "0..C-1 foreground, C background, -1 ignore"),
    ),
    outputs=(Output("loss", ("...", "C"), "float", "element losses, not reduced"),),
    practical_error=practical_error_with_labels,
    practical_gradient_error=practical_gradient_error_with_labels,
    rulings=(
        *_RULINGS,
        Ruling("ignore", "Label -1 contributes no loss and no gradient, whatever its logits are."),
        Ruling("background-last", "The background is label C; it is a negative in every channel."),
    ),
    requirements=(
        Requirement("FLL-1", Level.MUST, Kind.VALUE,
                    "Channel c of an anchor is a positive where its label is c, else a negative.",
                    "section 3.2; ruling background-last", value, labelled, scenes=(labelled_scene,),
                    reaches=_LABELS, dtypes=FULL),
        Requirement("FLL-2", Level.MUST, Kind.GRADIENT, "The gradient is that of the whole expression.",
                    "appendix B, equation 10", gradient("logits"), labelled, scenes=(labelled_scene,),
                    reaches=_LABELS, needs_gradient=True, dtypes=FULL),
        Requirement("FLL-3", Level.MUST, Kind.EMPTY, "An ignored anchor has loss 0.", "ruling ignore", value,
                    labelled_some_ignored, reaches=_IGNORED, dtypes=FULL, examples=0.5,
                    no_mutant="an ignored anchor with a loss has one for any logit, so FLL-5 sees it too"),
        Requirement("FLL-4", Level.MUST, Kind.DETACHED, "An ignored anchor has gradient 0.", "ruling ignore",
                    gradient("logits"), labelled_some_ignored, reaches=_IGNORED, needs_gradient=True, dtypes=FULL,
                    examples=0.5),
        Requirement("FLL-5", Level.SHOULD, Kind.EXTREME, "NaN or infinite logits of an ignored anchor count nothing.",
                    "ruling ignore", value, labelled_ignored_not_finite, dtypes=FULL, examples=0.3),
        Requirement("FLL-6", Level.MUST, Kind.REDUCES_TO, "It is the binary form on the one-hot targets.",
                    "section 3.2", loss_of_one_hot, labelled, dtypes=FULL, no_mutant=_IMPLIED.format("FLL-1"),
                    examples=0.3),
        Requirement("FLL-7", Level.MUST, Kind.EXTREME, "The value follows the formula for logits up to 10^4.",
                    "ruling no-clamp", value, labelled_extreme, dtypes=FULL),
        Requirement("FLL-8", Level.MUST, Kind.EXTREME,
                    "The gradient follows its formula for logits up to 10^4, at gamma >= 1.",
                    "ruling no-clamp", gradient("logits"), labelled_extreme, needs_gradient=True, dtypes=FULL,
                    no_mutant=_BOTH_GAMMAS.format("FLL-9")),
        Requirement("FLL-9", Level.MUST, Kind.EXTREME,
                    "At gamma in (0, 1) the gradient is finite also where 1 - p_t rounds to 0.",
                    "ruling finite-gradient", gradient("logits"), labelled_extreme_small_gamma,
                    needs_gradient=True, options=("gamma",), dtypes=FULL),
        Requirement("FLL-10", Level.SHOULD, Kind.EXTREME, "Half-precision logits give the value computed in float32.",
                    "ruling half-precision", value, labelled, dtypes=HALF),
        Requirement("FLL-11", Level.MUST, Kind.BATCH, "A batch gives what its images give one by one.",
                    "section 3.2", batch_equals_per_image, labelled, dtypes=FULL,
                    no_mutant=_IMPLIED.format("FLL-1"), examples=0.3),
        Requirement("FLL-17", Level.MUST, Kind.BATCH, "Ignored anchors at the end of an image change no other loss.",
                    "ruling ignore", padding(0, logits=0.0, labels=-1), labelled, dtypes=FULL,
                    no_mutant=_IMPLIED.format("FLL-1"), examples=0.3),
        Requirement("FLL-12", Level.MUST, Kind.INVARIANCE, "Reordering the anchors reorders the losses.",
                    "section 3.2", permutation, labelled, dtypes=FULL, no_mutant=_IMPLIED.format("FLL-1"),
                    examples=0.3),
        Requirement("FLL-13", Level.MUST, Kind.EMPTY, "No anchors give no losses, in the same shape.",
                    "ruling: an image without anchors is legal", value, labelled_empty, dtypes=FULL, examples=0.2),
        Requirement("FLL-14", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity,
                    labelled_some_ignored, dtypes=FULL, examples=0.3),
        Requirement("FLL-15", Level.SHOULD, Kind.ERROR, "Labels that do not fit the logits are refused.", "house rule",
                    refuses(bad_shape("labels"), without_axes("logits", "labels")), labelled, dtypes=FULL,
                    examples=0.2),
        Requirement("FLL-16", Level.MAY, Kind.ERROR, "A negative gamma and an alpha outside [0, 1] are refused.",
                    "house rule", refuses(bad_option("gamma", -1.0), bad_option("alpha", 1.5)), labelled, dtypes=FULL,
                    examples=0.2),
    ),
    mutants=LABEL_MUTANTS,
    not_applicable={
        Kind.LIMIT: "FLL-7 and FLL-8 compare with the formula itself at both ends of the format",
        Kind.BOUND: "as for binary targets, by FLL-6",
        Kind.TIES: "as for binary targets, by FLL-6",
        Kind.CONSERVATION: "element losses conserve nothing",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
