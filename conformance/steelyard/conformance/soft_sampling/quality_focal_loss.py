"""Contracts of the quality focal loss, from soft targets and from class labels.

Li et al., "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object Detection",
NeurIPS 2020 (arXiv 2006.04388), equation 2.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    batch_equals_per_image,
    float_format,
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
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.conformance.soft_sampling.quality_focal_loss_mutants import LABEL_MUTANTS, MUTANTS
from steelyard.conformance.soft_sampling.soft_target_inputs import (
    GFL_PAPER,
    clear_of_quality,
    clear_of_targets,
    counted,
    draw_labels,
    draw_targets,
    photograph,
    quality_derivative_error,
    quality_domain,
    quality_error,
    score_on_target,
    targets_domain,
    targets_of,
)
from steelyard.reference.logistic import sigmoid
from steelyard.reference.soft_sampling import quality_focal_loss as oracle

_SMALL_BETA = (0.5, 0.25, 0.75, 0.9)

# --- inputs ---------------------------------------------------------------------------------------------------


def draw_beta(draw: Draw) -> float:
    """Above 0; 0 has a requirement of its own."""
    return draw.integer(1, 50) / 10 if draw.flag(30) else draw.choice((2.0, 1.0, 0.5, 1.5, 2.5, 3.0))


def draw_smooth_beta(draw: Draw) -> float:
    """At least 1: the paper's range of trials, 0 apart. In (0, 1) there is a cusp, with a requirement of its own."""
    return draw.integer(10, 50) / 10 if draw.flag(30) else draw.choice((2.0, 1.0, 1.5, 2.5, 3.0, 4.0))


def _case(draw: Draw, logits: Array, targets: Array, dtype: str, beta: float) -> Case:
    arguments = {"logits": logits, "targets": targets}
    return Case(arguments, {"beta": beta}, dtype, draw.cotangent(logits.shape, dtype))


def ordinary(draw: Draw) -> Case:
    """Logits within 12, targets in [0, 1]."""
    dtype = draw.dtype()
    logits = draw.logits(draw.shape(draw.integer(1, 2)), dtype)
    return _case(draw, logits, draw_targets(draw, logits.shape, dtype), dtype, draw_beta(draw))


def smooth(draw: Draw) -> Case:
    """The same with beta >= 1, no score next to its target."""
    return clear_of_targets(ordinary(draw)).with_options(beta=draw_smooth_beta(draw))


def on_target(draw: Draw) -> Case:
    """Scores that are their target to the last bit, beta >= 1."""
    dtype = draw.dtype()
    arguments = score_on_target(draw, draw.shape(1), dtype)
    return _case(draw, arguments["logits"], arguments["targets"], dtype, draw_smooth_beta(draw))


def extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4, beta >= 1."""
    return _extreme(draw, to_the_end=False)


def to_the_end(draw: Draw) -> Case:
    """Logits from 15 to the end of the format."""
    return _extreme(draw, to_the_end=True)


def _extreme(draw: Draw, *, to_the_end: bool) -> Case:
    dtype = draw.dtype()
    logits = draw.extreme_logits(draw.shape(1, high=5), dtype, to_the_end=to_the_end)
    beta = draw.choice((2.0, 1.0, 2.5, 1.5))
    return clear_of_targets(_case(draw, logits, draw_targets(draw, logits.shape, dtype), dtype, beta))


def _on_the_right_side(draw: Draw, case: Case) -> Case:
    """Half of the time every high score has the target 1, to which it rounds."""
    high = draw.flag() & (case.arguments["logits"] > 0.0)
    return replace(case, arguments={**case.arguments, "targets": np.where(high, 1.0, case.arguments["targets"])})


def small_beta(draw: Draw) -> Case:
    """Beta in (0, 1): scores on their target, or beyond the last digit before it, or clear of it."""
    case = on_target(draw) if draw.flag() else _on_the_right_side(draw, extreme(draw))
    return case.with_options(beta=draw.choice(_SMALL_BETA))


def without_focus(draw: Draw) -> Case:
    """Beta 0, mostly where the score rounds to the target."""
    case = smooth(draw) if draw.flag(30) else extreme(draw)
    y = np.where(case.arguments["logits"] > 0.0, 1.0, case.arguments["targets"])
    return replace(case, arguments={**case.arguments, "targets": y}).with_options(beta=0.0)


def not_finite(draw: Draw) -> Case:
    """One logit that is NaN or infinite."""
    case = clear_of_targets(ordinary(draw))
    logits = case.arguments["logits"].copy()
    logits.flat[draw.integer(0, min(logits.size, 100) - 1)] = draw.choice((np.nan, np.inf, -np.inf))
    return case.with_arguments(logits=logits)


def not_finite_smooth(draw: Draw) -> Case:
    """The same with beta 0 or at least 1."""
    return not_finite(draw).with_options(beta=draw.choice((2.0, 0.0, 1.0)))


def empty(draw: Draw) -> Case:
    """No element at all."""
    dtype = draw.dtype()
    shape = draw.choice(((0,), (0, 3), (2, 0), (0, 4, 2)))
    return _case(draw, np.zeros(shape), np.zeros(shape), dtype, draw_beta(draw))


def scene(seed: int) -> Case:
    """20,000 elements, one in a hundred with a quality, as a trained detector scores them."""
    random = np.random.default_rng(seed)
    shape = (2, 500, 20)
    positive = random.random(shape) < 1e-2
    targets = np.where(positive, np.round(random.beta(4.0, 2.0, shape), 3), 0.0)
    logits = np.where(positive, random.normal(0.0, 1.5, shape), random.normal(-5.5, 1.5, shape))
    arguments = {"logits": round_to("float32", logits), "targets": round_to("float32", targets)}
    return clear_of_targets(Case(arguments, {"beta": 2.0}, "float32", origin=f"scene {seed}"))


# --- practical errors and laws --------------------------------------------------------------------------------


def practical_error(case: Case, u: float) -> Array:
    """Score and cross entropy as libraries compute them."""
    return quality_error(case.arguments["logits"], case.arguments["targets"], option(case, "beta"), u)


def practical_gradient_error(case: Case, u: float) -> Array:
    """The gradient's, from the same sources."""
    x, y = case.arguments["logits"], case.arguments["targets"]
    error = quality_derivative_error(x, y, option(case, "beta"), u)
    return error if case.cotangent is None else error * np.abs(case.cotangent)


def gradient_interval(argument: str, case: Case) -> tuple[Array, Array]:
    """At beta 1 every slope between those on both sides of a score that is its target; else the gradient."""
    exact = QUALITY_FOCAL_LOSS.evaluate_gradient(argument, case)
    x, y = case.arguments["logits"], case.arguments["targets"]
    return _widened(exact, (x == 0.0) & (y == 0.5), case)


def _widened(exact: Array, tie: Array, case: Case) -> tuple[Array, Array]:
    """At logit 0 against 1/2 the slopes are 1/4 ln 2, up and down."""
    upstream = np.ones(tie.shape) if case.cotangent is None else np.abs(case.cotangent)
    reach = np.where(tie & (case.options["beta"] == 1.0), np.log(2.0) / 4.0 * upstream, 0.0)
    return exact - reach, exact + reach


def cross_entropy(case: Case) -> Array:
    """Against a soft target, from the definition of the logarithms."""
    x, y = case.arguments["logits"], case.arguments["targets"]
    return np.asarray(y * np.logaddexp(0.0, -x) + (1.0 - y) * np.logaddexp(0.0, x))


def mirrored(case: Case) -> Case:
    """Logits of the other sign against the rest of the target."""
    return case.with_arguments(logits=-case.arguments["logits"], targets=1.0 - case.arguments["targets"])


def mirroring_changes_nothing(bench: Bench, case: Case) -> None:
    """QFL(x, y) = QFL(-x, 1 - y), for targets whose complement is exact."""
    on_grid = case.with_arguments(targets=np.round(case.arguments["targets"] * 64.0) / 64.0)
    same_as(mirrored, "value of the mirrored case")(bench, on_grid)


def between_zero_and_cross_entropy(bench: Bench, case: Case) -> None:
    """0 <= QFL <= cross entropy, up to the bound."""
    loss = np.asarray(bench.evaluate(case).outputs[0], dtype=np.float64)
    highest = cross_entropy(case)
    plain(bench, case, np.minimum(loss, 0.0), np.zeros(loss.shape), "part below 0")
    plain(bench, case, np.maximum(loss, highest), np.maximum(highest, bench.oracle(case)[0]), "value above CE")


# --- reaches --------------------------------------------------------------------------------------------------

_ORDINARY = {
    "a target of 0": lambda c: bool((c.arguments["targets"] == 0).any()),
    "a target of 1": lambda c: bool((c.arguments["targets"] == 1).any()),
    "a soft target below the score": lambda c: bool(
        ((c.arguments["targets"] > 0) & (c.arguments["targets"] < sigmoid(c.arguments["logits"]))).any()
    ),
    "a soft target above the score": lambda c: bool(
        ((c.arguments["targets"] < 1) & (c.arguments["targets"] > sigmoid(c.arguments["logits"]))).any()
    ),
    "beta that is no integer": lambda c: not float(c.options["beta"]).is_integer(),
    "beta = 3": lambda c: c.options["beta"] == 3.0,
}
_EXTREME = {
    "a logit beyond 90": lambda c: bool((np.abs(c.arguments["logits"]) > 90).any()),
    "a wrong score that rounds to 1": lambda c: bool(
        ((c.arguments["logits"] > 40) & (c.arguments["targets"] < 1)).any()
    ),
    "a right score that rounds to 1": lambda c: bool(
        ((c.arguments["logits"] > 40) & (c.arguments["targets"] == 1)).any()
    ),
}
_IMPLIED = "implied by {}; kept because a failure then names the law that is broken"
_BOTH_BETAS = "a gradient that is lost at beta >= 1 is lost below 1 too, where {} sees it; not the other way round"

_OPTIONS = (Option("beta", 2.0, "focusing exponent, >= 0; 0 is cross entropy with a soft target"),)
_RULINGS = (
    Ruling("absolute-distance", "The power is taken of |y - sigma|: without it, odd exponents give negative losses "
           "and fractional ones NaN where the score is above the target."),
    Ruling("right-score", "Where the score is the target the gradient is 0. At beta 1 any slope between those of the "
           "two sides is admissible, below 1 only 0: there the slopes are infinite."),
    Ruling("below-one", "The paper tries 0, 1, 2, 2.5 and 4. For beta in (0, 1) a finite gradient SHOULD be given."),
    Ruling("no-clamp", "The value follows the formula up to the end of the format; no epsilon, no clamp."),
    Ruling("half-precision", "float16 and bfloat16 are computed in float32."),
    Ruling("constant-target", "Nothing is learnt through the target. Whether a function cuts its gradient or leaves "
           "that to the caller is not judged: libraries do either."),
)  # fmt: skip

QUALITY_FOCAL_LOSS = Technique(
    id="quality_focal_loss",
    title="Quality focal loss",
    family="soft_sampling",
    summary="Cross entropy with the quality of the box as its target, times |y - sigma|^beta.",
    sources=(GFL_PAPER + ", equation 2",),
    oracle=oracle.quality_focal_loss,
    gradients={"logits": oracle.quality_focal_loss_grad},
    gradient_interval=gradient_interval,
    arguments=(
        Argument("logits", ("...",), "float", "scores before the sigmoid", differentiable=True),
        Argument("targets", ("...",), "float", "quality in [0, 1] in the channel of the true class, else 0",
                 domain=targets_domain),
    ),
    options=_OPTIONS,
    outputs=(Output("loss", ("...",), "float", "element losses, not reduced"),),
    practical_error=practical_error,
    practical_gradient_error=practical_gradient_error,
    requirements=(
        Requirement("QFL-1", Level.MUST, Kind.VALUE,
                    "Each element is |y - sigma|^beta times its cross entropy against y.", "equation 2", value,
                    ordinary, scenes=(scene,), reaches=_ORDINARY, dtypes=FULL),
        Requirement("QFL-2", Level.MUST, Kind.GRADIENT,
                    "The gradient is that of the whole expression, times the upstream gradient, at beta >= 1.",
                    "derivative of equation 2", gradient("logits"), smooth, scenes=(scene,), needs_gradient=True,
                    dtypes=FULL),
        Requirement("QFL-3", Level.MUST, Kind.REDUCES_TO, "With beta 0 it is the cross entropy against y.",
                    "equation 2", reduces_to(cross_entropy, beta=0.0), ordinary, options=("beta",), dtypes=FULL),
        Requirement("QFL-4", Level.MUST, Kind.TIES,
                    "Where the score is the target the gradient is 0, at beta >= 1 (at 1: between the slopes).",
                    "ruling right-score", gradient("logits"), on_target, needs_gradient=True, dtypes=FULL,
                    no_mutant=_BOTH_BETAS.format("QFL-7"), examples=0.5),
        Requirement("QFL-5", Level.MUST, Kind.EXTREME,
                    "The value follows the formula for logits up to the end of the format.",
                    "ruling no-clamp", value, to_the_end, reaches=_EXTREME, dtypes=FULL),
        Requirement("QFL-6", Level.MUST, Kind.EXTREME,
                    "The gradient follows its formula for logits up to 10^4, at beta >= 1.",
                    "ruling no-clamp", gradient("logits"), extreme, reaches=_EXTREME, needs_gradient=True,
                    dtypes=FULL, no_mutant=_BOTH_BETAS.format("QFL-7")),
        Requirement("QFL-7", Level.SHOULD, Kind.EXTREME,
                    "At beta in (0, 1) the gradient is finite and right, also where the score rounds to the target.",
                    "rulings below-one and right-score", gradient("logits"), small_beta, needs_gradient=True,
                    options=("beta",), dtypes=FULL,
                    reaches={"a score on its target": lambda c: bool((c.arguments["logits"] == 0).any()),
                             "a score that rounds to its target": lambda c: bool(
                                 ((c.arguments["logits"] > 40) & (c.arguments["targets"] == 1)).any())}),
        Requirement("QFL-8", Level.SHOULD, Kind.EXTREME, "Half-precision logits give the value computed in float32.",
                    "ruling half-precision", value, ordinary, dtypes=HALF),
        Requirement("QFL-9", Level.SHOULD, Kind.EXTREME,
                    "Half-precision logits give the gradient computed in float32, at beta >= 1.",
                    "ruling half-precision", gradient("logits"), smooth, needs_gradient=True, dtypes=HALF),
        Requirement("QFL-10", Level.MUST, Kind.INVARIANCE, "QFL(x, y) is QFL(-x, 1 - y).", "equation 2",
                    mirroring_changes_nothing, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("QFL-1")),
        Requirement("QFL-11", Level.MUST, Kind.BOUND, "The loss lies between 0 and the cross entropy.", "equation 2",
                    between_zero_and_cross_entropy, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("QFL-1")),
        Requirement("QFL-12", Level.MUST, Kind.BATCH, "A batch gives what its rows give one by one.",
                    "the loss is a sum over elements", batch_equals_per_image, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("QFL-1")),
        Requirement("QFL-13", Level.MUST, Kind.INVARIANCE, "Reordering the elements reorders the losses.",
                    "the loss is a sum over elements", permutation, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("QFL-1")),
        Requirement("QFL-14", Level.MUST, Kind.EMPTY, "No elements give no losses, in the same shape.",
                    "ruling: an image without anchors is legal", value, empty, dtypes=FULL, examples=0.2),
        Requirement("QFL-15", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity, ordinary,
                    dtypes=FULL, examples=0.3),
        Requirement("QFL-16", Level.SHOULD, Kind.ERROR, "Targets of another shape than the logits' are refused.",
                    "house rule", refuses(bad_shape("targets")), ordinary, dtypes=FULL, examples=0.2),
        Requirement("QFL-17", Level.MAY, Kind.EXTREME,
                    "NaN stays in its element; an infinite logit gives the limit.", "ruling no-clamp", value,
                    not_finite, dtypes=FULL, examples=0.5),
        Requirement("QFL-18", Level.MAY, Kind.ERROR, "A negative beta is refused.", "house rule",
                    refuses(bad_option("beta", -1.0)), ordinary, dtypes=FULL, examples=0.2),
        Requirement("QFL-19", Level.MUST, Kind.EXTREME,
                    "At beta 0 the gradient is sigma - y, also where the score rounds to the target.",
                    "derivative of equation 2", gradient("logits"), without_focus, needs_gradient=True,
                    options=("beta",), dtypes=FULL, examples=0.5),
        Requirement("QFL-20", Level.MAY, Kind.EXTREME,
                    "The gradient stays finite for an infinite logit; NaN stays in its element.", "ruling no-clamp",
                    gradient("logits"), not_finite_smooth, needs_gradient=True, dtypes=FULL, examples=0.5),
    ),
    mutants=MUTANTS,
    rulings=_RULINGS,
    not_applicable={
        Kind.DETACHED: "ruling constant-target; QFL-2 catches an implementation that detaches the factor",
        Kind.LIMIT: "QFL-5 and QFL-6 compare with the formula itself at both ends",
        Kind.CONSERVATION: "element losses conserve nothing",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip


# --- from class labels ----------------------------------------------------------------------------------------


def practical_error_with_labels(case: Case, u: float) -> Array:
    """As for targets."""
    error = quality_error(case.arguments["logits"], targets_of(case), option(case, "beta"), u)
    return np.where(counted(case), error, 0.0)


def practical_gradient_error_with_labels(case: Case, u: float) -> Array:
    """As for targets."""
    x = case.arguments["logits"]
    error = np.where(counted(case), quality_derivative_error(x, targets_of(case), option(case, "beta"), u), 0.0)
    return error if case.cotangent is None else error * np.abs(case.cotangent)


def gradient_interval_with_labels(argument: str, case: Case) -> tuple[Array, Array]:
    """As for targets."""
    exact = QUALITY_FOCAL_LOSS_WITH_LABELS.evaluate_gradient(argument, case)
    x, y = case.arguments["logits"], targets_of(case)
    return _widened(exact, (x == 0.0) & (y == 0.5) & counted(case), case)


def _labelled(draw: Draw, logits: Array, dtype: str, beta: float, *, lowest: int = 0) -> Case:
    arguments = {
        "logits": logits,
        "labels": draw_labels(draw, logits, lowest=lowest),
        "quality": draw_targets(draw, logits.shape[:-1], dtype),
    }
    return Case(arguments, {"beta": beta}, dtype, draw.cotangent(logits.shape, dtype))


def _anchors(draw: Draw, dtype: str) -> Array:
    return draw.logits(draw.shape(draw.integer(2, 3), high=3), dtype)


def labelled(draw: Draw) -> Case:
    """Foreground and background anchors, logits within 12."""
    dtype = draw.dtype()
    return _labelled(draw, _anchors(draw, dtype), dtype, draw_beta(draw))


def labelled_smooth(draw: Draw) -> Case:
    """The same with beta >= 1, no score next to its target."""
    return clear_of_quality(labelled(draw)).with_options(beta=draw_smooth_beta(draw))


def some_ignored(draw: Draw) -> Case:
    """The same with ignored anchors."""
    dtype = draw.dtype()
    return clear_of_quality(_labelled(draw, _anchors(draw, dtype), dtype, draw_smooth_beta(draw), lowest=-1))


def ignored_not_finite(draw: Draw) -> Case:
    """Ignored anchors whose logits are NaN or infinite."""
    case = some_ignored(draw)
    labels = case.arguments["labels"].copy()
    labels.flat[0] = -1
    spoilt = np.where((labels == -1)[..., None], draw.choice((np.nan, np.inf, -np.inf)), case.arguments["logits"])
    return case.with_arguments(logits=spoilt, labels=labels)


def no_quality(draw: Draw) -> Case:
    """Anchors that are not foreground, whose quality is NaN."""
    case = some_ignored(draw)
    labels = case.arguments["labels"].copy()
    classes = case.arguments["logits"].shape[-1]
    labels.flat[0] = classes
    outside = (labels == -1) | (labels == classes)
    return case.with_arguments(labels=labels, quality=np.where(outside, np.nan, case.arguments["quality"]))


def labelled_extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4, beta >= 1."""
    dtype = draw.dtype()
    logits = draw.extreme_logits(draw.shape(2, high=3), dtype, to_the_end=False)
    return clear_of_quality(_labelled(draw, logits, dtype, draw.choice((2.0, 1.0, 2.5))))


def labelled_small_beta(draw: Draw) -> Case:
    """Beta in (0, 1): scores on their target, or beyond the last digit before it, or clear of it."""
    case = labelled_extreme(draw).with_options(beta=draw.choice(_SMALL_BETA))
    if draw.flag():
        return case
    logits, labels, quality = (case.arguments[name].copy() for name in ("logits", "labels", "quality"))
    logits.flat[0], labels.flat[0], quality.flat[0] = 0.0, 0, 0.5
    return replace(case, arguments={"logits": logits, "labels": labels, "quality": quality})


def labelled_without_focus(draw: Draw) -> Case:
    """Beta 0, also where the score rounds to the target."""
    return (labelled_smooth(draw) if draw.flag() else labelled_extreme(draw)).with_options(beta=0.0)


def labelled_empty(draw: Draw) -> Case:
    """No anchor, or no image."""
    dtype = draw.dtype()
    return _labelled(draw, np.zeros(draw.choice(((0, 3), (2, 0, 3), (0, 4, 2)))), dtype, draw_beta(draw))


def labelled_photograph(seed: int) -> Case:
    """Every point of a real detector on a photograph: 168,000 scores, all but some of them of background."""
    return clear_of_quality(Case(photograph(seed), {"beta": 2.0}, "float32", origin=f"photograph {seed % 3}"))


def loss_of_targets(bench: Bench, case: Case) -> None:
    """Equal to the form by targets, with the quality in the channel of the true class."""
    answer = bench.evaluate(case)
    dtype = float_format(answer.dtypes[0], case)
    by_targets = oracle.quality_focal_loss(case.arguments["logits"], targets_of(case), beta=option(case, "beta"))
    bench.expect_close(case, answer.outputs[0], by_targets, bench.bounds(case, dtype), dtype, "value of the targets")


_LABELS = {
    "a background anchor": lambda c: bool((c.arguments["labels"] == c.arguments["logits"].shape[-1]).any()),
    "a foreground anchor": lambda c: bool((c.arguments["labels"] < c.arguments["logits"].shape[-1]).any()),
    "a foreground anchor of quality 0": lambda c: bool(
        ((c.arguments["labels"] < c.arguments["logits"].shape[-1]) & (c.arguments["quality"] == 0)).any()
    ),
    "one class": lambda c: c.arguments["logits"].shape[-1] == 1,
}
_IGNORED = {"an ignored anchor": lambda c: bool((c.arguments["labels"] == -1).any())}

QUALITY_FOCAL_LOSS_WITH_LABELS = replace(
    QUALITY_FOCAL_LOSS,
    id="quality_focal_loss_with_labels",
    title="Quality focal loss from class labels",
    summary="The quality focal loss of anchors, each with one class id and quality, background or ignored.",
    oracle=oracle.quality_focal_loss_with_labels,
    gradients={"logits": oracle.quality_focal_loss_with_labels_grad},
    gradient_interval=gradient_interval_with_labels,
    arguments=(
        Argument("logits", ("...", "C"), "float", "scores before the sigmoid", differentiable=True),
        Argument("labels", ("...",), "int", "0..C-1 foreground, C background, -1 ignore"),
        Argument("quality", ("...",), "float", "IoU of the predicted box with its object, read at foreground anchors",
                 domain=quality_domain),
    ),
    outputs=(Output("loss", ("...", "C"), "float", "element losses, not reduced"),),
    practical_error=practical_error_with_labels,
    practical_gradient_error=practical_gradient_error_with_labels,
    rulings=(
        *_RULINGS,
        Ruling("ignore", "Label -1 contributes no loss and no gradient, whatever its logits are (the authors' code "
               "trains ignored anchors as negatives)."),
        Ruling("one-term", "The term of the quality replaces the negative term in the channel of the true class."),
        Ruling("quality-0", "A foreground anchor of quality 0 is trained as a negative."),
    ),
    requirements=(
        Requirement("QFLL-1", Level.MUST, Kind.VALUE,
                    "The target is the quality in the channel of an anchor's class, and 0 in all others.",
                    "equation 2; ruling one-term", value, labelled, scenes=(labelled_photograph,), reaches=_LABELS,
                    dtypes=FULL),
        Requirement("QFLL-2", Level.MUST, Kind.GRADIENT, "The gradient is that of the whole expression, at beta >= 1.",
                    "derivative of equation 2", gradient("logits"), labelled_smooth, scenes=(labelled_photograph,),
                    needs_gradient=True, dtypes=FULL),
        Requirement("QFLL-3", Level.MUST, Kind.EMPTY, "An ignored anchor has loss 0.", "ruling ignore", value,
                    some_ignored, reaches=_IGNORED, dtypes=FULL, examples=0.5,
                    no_mutant="an ignored anchor with a loss has one for any logit, so QFLL-5 sees it too"),
        Requirement("QFLL-4", Level.MUST, Kind.DETACHED, "An ignored anchor has gradient 0.", "ruling ignore",
                    gradient("logits"), some_ignored, reaches=_IGNORED, needs_gradient=True, dtypes=FULL,
                    examples=0.5),
        Requirement("QFLL-5", Level.SHOULD, Kind.EXTREME, "NaN or infinite logits of an ignored anchor count nothing.",
                    "ruling ignore", value, ignored_not_finite, dtypes=FULL, examples=0.3),
        Requirement("QFLL-6", Level.SHOULD, Kind.EXTREME,
                    "The quality is not read where there is no object; NaN may stand there.", "ruling one-term", value,
                    no_quality, dtypes=FULL, examples=0.3),
        Requirement("QFLL-7", Level.MUST, Kind.REDUCES_TO, "It is the form by targets.", "equation 2", loss_of_targets,
                    labelled, dtypes=FULL, no_mutant=_IMPLIED.format("QFLL-1"), examples=0.3),
        Requirement("QFLL-8", Level.MUST, Kind.EXTREME, "The value follows the formula for logits up to 10^4.",
                    "ruling no-clamp", value, labelled_extreme, dtypes=FULL),
        Requirement("QFLL-9", Level.MUST, Kind.EXTREME,
                    "The gradient follows its formula for logits up to 10^4, at beta >= 1.", "ruling no-clamp",
                    gradient("logits"), labelled_extreme, needs_gradient=True, dtypes=FULL,
                    no_mutant=_BOTH_BETAS.format("QFLL-10")),
        Requirement("QFLL-10", Level.SHOULD, Kind.EXTREME,
                    "At beta in (0, 1) the gradient is finite and right, also where the score rounds to the target.",
                    "rulings below-one and right-score", gradient("logits"), labelled_small_beta, needs_gradient=True,
                    options=("beta",), dtypes=FULL),
        Requirement("QFLL-11", Level.SHOULD, Kind.EXTREME,
                    "Half-precision logits give the value computed in float32.", "ruling half-precision", value,
                    labelled, dtypes=HALF),
        Requirement("QFLL-12", Level.MUST, Kind.BATCH, "A batch gives what its images give one by one.", "equation 8",
                    batch_equals_per_image, labelled, dtypes=FULL, no_mutant=_IMPLIED.format("QFLL-1"), examples=0.3),
        Requirement("QFLL-13", Level.MUST, Kind.BATCH, "Ignored anchors at the end of an image change no other loss.",
                    "ruling ignore", padding(0, logits=0.0, labels=-1, quality=0.0), labelled, dtypes=FULL,
                    no_mutant=_IMPLIED.format("QFLL-1"), examples=0.3),
        Requirement("QFLL-14", Level.MUST, Kind.INVARIANCE, "Reordering the anchors reorders the losses.",
                    "equation 8", permutation, labelled, dtypes=FULL, no_mutant=_IMPLIED.format("QFLL-1"),
                    examples=0.3),
        Requirement("QFLL-15", Level.MUST, Kind.EMPTY, "No anchors give no losses, in the same shape.",
                    "ruling: an image without anchors is legal", value, labelled_empty, dtypes=FULL, examples=0.2),
        Requirement("QFLL-16", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity,
                    some_ignored, dtypes=FULL, examples=0.3),
        Requirement("QFLL-17", Level.SHOULD, Kind.ERROR, "Labels that do not fit the logits are refused.",
                    "house rule", refuses(bad_shape("labels"), without_axes("logits", "labels", "quality")),
                    labelled, dtypes=FULL, examples=0.2),
        Requirement("QFLL-18", Level.MAY, Kind.ERROR, "A negative beta is refused.", "house rule",
                    refuses(bad_option("beta", -1.0)), labelled, dtypes=FULL, examples=0.2),
        Requirement("QFLL-19", Level.MUST, Kind.REDUCES_TO, "With beta 0 it is the cross entropy against the target.",
                    "equation 2", value,
                    lambda draw: labelled_smooth(draw).with_options(beta=0.0), options=("beta",), dtypes=FULL,
                    examples=0.5),
        Requirement("QFLL-20", Level.MUST, Kind.EXTREME,
                    "At beta 0 the gradient is sigma - y, also where the score rounds to the target.",
                    "derivative of equation 2", gradient("logits"), labelled_without_focus, needs_gradient=True,
                    options=("beta",), dtypes=FULL, examples=0.5),
    ),
    mutants=LABEL_MUTANTS,
    not_applicable={
        Kind.LIMIT: "QFLL-8 and QFLL-9 compare with the formula itself at both ends",
        Kind.BOUND: "as for targets, by QFLL-7",
        Kind.TIES: "QFLL-10, and as for targets, by QFLL-7",
        Kind.CONSERVATION: "element losses conserve nothing",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
