"""Contracts of the varifocal loss, from soft targets and from class labels.

Zhang, Wang, Dayoub, Suenderhauf, "VarifocalNet: An IoU-aware Dense Object Detector", CVPR 2021
(arXiv 2008.13367), equation 2.
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
    purity,
    reduces_to,
    refuses,
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
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import (
    FULL,
    HALF,
    option,
    textbook_derivative_error,
    textbook_error,
)
from steelyard.conformance.soft_sampling.soft_target_inputs import (
    cancelled,
    counted,
    draw_labels,
    draw_targets,
    photograph,
    quality_domain,
    score_on_target,
    targets_domain,
    targets_of,
)
from steelyard.conformance.soft_sampling.varifocal_loss_mutants import LABEL_MUTANTS, MUTANTS
from steelyard.reference.soft_sampling import varifocal_loss as oracle

VFL_PAPER = 'Zhang et al., "VarifocalNet", CVPR 2021, arXiv 2008.13367'
_FEW = 4.0
_SMALL_GAMMA = (0.5, 0.25, 0.75, 0.9)

# --- inputs ---------------------------------------------------------------------------------------------------


def _options(draw: Draw, gamma: float) -> dict[str, OptionValue]:
    alpha = draw.integer(1, 99) / 100 if draw.flag(30) else draw.choice((0.75, 0.25, 1.0, 0.5))
    return {"alpha": alpha, "gamma": gamma, "iou_weighted": True}


def _gamma(draw: Draw) -> float:
    """At least 1; 0, and what lies between, have requirements of their own."""
    return draw.integer(10, 50) / 10 if draw.flag(30) else draw.choice((2.0, 1.0, 1.5, 3.0))


def _case(draw: Draw, logits: Array, targets: Array, dtype: str, gamma: float) -> Case:
    arguments = {"logits": logits, "targets": targets}
    return Case(arguments, _options(draw, gamma), dtype, draw.cotangent(logits.shape, dtype))


def ordinary(draw: Draw) -> Case:
    """Logits within 12, targets in [0, 1], gamma >= 1."""
    dtype = draw.dtype()
    logits = draw.logits(draw.shape(draw.integer(1, 2)), dtype)
    return _case(draw, logits, draw_targets(draw, logits.shape, dtype), dtype, _gamma(draw))


def not_weighted(draw: Draw) -> Case:
    """Positives not weighted by their quality."""
    return ordinary(draw).with_options(iou_weighted=False)


def alpha_at_its_ends(draw: Draw) -> Case:
    """Alpha None, 0 or above 1."""
    return ordinary(draw).with_options(alpha=draw.choice((None, 0.0, 2.0)))


def _odd_options(draw: Draw, case: Case) -> Case:
    name, choice = draw.choice(
        (("alpha", None), ("alpha", 0.0), ("gamma", 0.0), ("iou_weighted", False), ("alpha", 2.0))
    )
    return case.with_options(**{name: choice})


def odd_options(draw: Draw) -> Case:
    """One option at an end of its range."""
    return _odd_options(draw, ordinary(draw))


def tiny_quality(draw: Draw) -> Case:
    """Qualities just above 0 beside 0."""
    case = ordinary(draw)
    shape = case.arguments["targets"].shape
    targets = draw.array(shape, lambda: draw.choice((1e-6, 2.0**-12, 0.0)))
    targets.flat[0] = 1e-6
    return case.with_arguments(targets=round_to(case.dtype, targets))


def extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4, gamma >= 1."""
    return _extreme(draw, to_the_end=False)


def to_the_end(draw: Draw) -> Case:
    """Logits from 15 to the end of the format."""
    return _extreme(draw, to_the_end=True)


def _extreme(draw: Draw, *, to_the_end: bool) -> Case:
    dtype = draw.dtype()
    logits = draw.extreme_logits(draw.shape(1, high=5), dtype, to_the_end=to_the_end)
    return _case(draw, logits, draw_targets(draw, logits.shape, dtype), dtype, draw.choice((2.0, 1.0, 1.5)))


def small_gamma(draw: Draw) -> Case:
    """Gamma in (0, 1): scores on their target, or logits from 15 on."""
    if draw.flag():
        dtype = draw.dtype()
        arguments = score_on_target(draw, draw.shape(1), dtype)
        return _case(draw, arguments["logits"], arguments["targets"], dtype, draw.choice(_SMALL_GAMMA))
    return extreme(draw).with_options(gamma=draw.choice(_SMALL_GAMMA))


def not_finite(draw: Draw) -> Case:
    """NaN and infinite logits against targets of 0, 1 and between, a finite one before and others after."""
    case = ordinary(draw)
    between = draw.choice((0.5, 0.75, 0.25))
    spoilt, their_targets = np.meshgrid((np.nan, np.inf, -np.inf), (0.0, 1.0, between))
    logits, targets = (case.arguments[name].ravel() for name in ("logits", "targets"))
    arguments = {
        "logits": np.concatenate([logits[:1], spoilt.ravel(), logits[1:]]),
        "targets": np.concatenate([targets[:1], their_targets.ravel(), targets[1:]]),
    }
    return case.with_arguments(**arguments).with_options(alpha=draw.choice((0.75, 0.0)))


def empty(draw: Draw) -> Case:
    """No element at all."""
    dtype = draw.dtype()
    shape = draw.choice(((0,), (0, 3), (2, 0), (0, 4, 2)))
    return _case(draw, np.zeros(shape), np.zeros(shape), dtype, _gamma(draw))


def scene(seed: int) -> Case:
    """20,000 elements, one in a hundred with a quality, as a trained detector scores them."""
    random = np.random.default_rng(seed)
    shape = (2, 500, 20)
    positive = random.random(shape) < 1e-2
    targets = np.where(positive, np.round(random.beta(4.0, 2.0, shape), 3), 0.0)
    logits = np.where(positive, random.normal(0.0, 1.5, shape), random.normal(-5.5, 1.5, shape))
    arguments = {"logits": round_to("float32", logits), "targets": round_to("float32", targets)}
    options: dict[str, OptionValue] = {"alpha": 0.75, "gamma": 2.0, "iou_weighted": True}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


# --- practical errors and laws --------------------------------------------------------------------------------


def _alpha(case: Case) -> float:
    return 1.0 if case.options["alpha"] is None else option(case, "alpha")


def _error(case: Case, q: Array, u: float) -> Array:
    """A positive's cross entropy cancels; a negative is a focal loss in textbook form."""
    x = case.arguments["logits"]
    weight = q if case.options["iou_weighted"] else np.where(q > 0.0, 1.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        negative = _alpha(case) * textbook_error(-x, option(case, "gamma"), np.abs(x), u)
        return np.where(q > 0.0, weight * cancelled(x, q, u), negative)


def _gradient_error(case: Case, q: Array, u: float) -> Array:
    """A positive's p - q cancels; a negative as above."""
    x = case.arguments["logits"]
    weight = q if case.options["iou_weighted"] else np.where(q > 0.0, 1.0, 0.0)
    with np.errstate(over="ignore", invalid="ignore"):
        negative = _alpha(case) * textbook_derivative_error(-x, option(case, "gamma"), np.abs(x), u)
    error = np.where(q > 0.0, _FEW * u * weight, negative)
    return error if case.cotangent is None else error * np.abs(case.cotangent)


def practical_error(case: Case, u: float) -> Array:
    """By branch."""
    return _error(case, case.arguments["targets"], u)


def practical_gradient_error(case: Case, u: float) -> Array:
    """By branch."""
    return _gradient_error(case, case.arguments["targets"], u)


def cross_entropy(case: Case) -> Array:
    """Against a soft target, from the definition of the logarithms."""
    x, q = case.arguments["logits"], case.arguments["targets"]
    return np.asarray(q * np.logaddexp(0.0, -x) + (1.0 - q) * np.logaddexp(0.0, x))


def at_least_the_entropy(bench: Bench, case: Case) -> None:
    """A positive's loss is at least q times the entropy of q, any other at least 0, up to the bound."""
    answer = bench.evaluate(case)
    q = case.arguments["targets"]
    inside = np.where((q > 0.0) & (q < 1.0), q, 0.5)
    entropy = -(inside * np.log(inside) + (1.0 - inside) * np.log1p(-inside))
    lowest = np.where((q > 0.0) & (q < 1.0), q * entropy, 0.0)
    loss = np.asarray(answer.outputs[0], dtype=np.float64)
    dtype = float_format(answer.dtypes[0], case)
    bench.expect_close(
        case, np.minimum(loss, lowest), lowest, bench.bounds(case, dtype), dtype, "value against the entropy"
    )


_ORDINARY = {
    "a negative": lambda c: bool((c.arguments["targets"] == 0).any()),
    "a soft positive": lambda c: bool(((c.arguments["targets"] > 0) & (c.arguments["targets"] < 1)).any()),
    "a target of 1": lambda c: bool((c.arguments["targets"] == 1).any()),
}
_EXTREME = {
    "a logit beyond 90": lambda c: bool((np.abs(c.arguments["logits"]) > 90).any()),
    "a negative that scores 1": lambda c: bool(((c.arguments["logits"] > 40) & (c.arguments["targets"] == 0)).any()),
    "a positive that scores 0": lambda c: bool(((c.arguments["logits"] < -40) & (c.arguments["targets"] > 0)).any()),
}
_IMPLIED = "implied by {}; kept because a failure then names the law that is broken"
_BOTH_GAMMAS = "a gradient that is lost at gamma >= 1 is lost below 1 too, where {} sees it; not the other way round"

_OPTIONS = (
    Option("alpha", 0.75, "weight of the negatives, >= 0; None: 1"),
    Option("gamma", 2.0, "focusing exponent of the negatives, >= 0"),
    Option("iou_weighted", True, "whether the loss of a positive is multiplied by its quality"),
)
_RULINGS = (
    Ruling("branch", "An element is a positive where its target is above 0, and only there: an anchor of quality 0 is "
           "a negative. The authors keep the quality at 1e-6 or more."),
    Ruling("alpha-on-negatives", "alpha weighs the negatives, the opposite of the focal loss; None weighs them 1."),
    Ruling("below-one", "For gamma in (0, 1) a finite gradient SHOULD be given where p rounds to 0."),
    Ruling("no-clamp", "The value follows the formula up to the end of the format; no epsilon, no clamp."),
    Ruling("half-precision", "float16 and bfloat16 are computed in float32."),
    Ruling("constant-target", "Nothing is learnt through the target. Whether a function cuts its gradient or leaves "
           "that to the caller is not judged: libraries do either."),
)  # fmt: skip
_BAD_OPTIONS = refuses(bad_option("gamma", -1.0), bad_option("alpha", -1.0))

VARIFOCAL_LOSS = Technique(
    id="varifocal_loss",
    title="Varifocal loss",
    family="soft_sampling",
    summary="Negatives are weighted down as in the focal loss, positives up by the quality of their box.",
    sources=(VFL_PAPER + ", equation 2",),
    oracle=oracle.varifocal_loss,
    gradients={"logits": oracle.varifocal_loss_grad},
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
        Requirement("VFL-1", Level.MUST, Kind.VALUE,
                    "A positive's loss is q times its cross entropy against q, a negative's -alpha p^gamma log(1 - p).",
                    "equation 2", value, ordinary, scenes=(scene,), reaches=_ORDINARY, dtypes=FULL),
        Requirement("VFL-2", Level.MUST, Kind.GRADIENT,
                    "The gradient is that of the whole expression, times the upstream gradient, at gamma >= 1.",
                    "derivative of equation 2", gradient("logits"), ordinary, scenes=(scene,), needs_gradient=True,
                    dtypes=FULL),
        Requirement("VFL-3", Level.MUST, Kind.REDUCES_TO,
                    "With gamma 0, alpha 1 and no weight of the positives it is the cross entropy against q.",
                    "equation 2", reduces_to(cross_entropy, alpha=1.0, gamma=0.0, iou_weighted=False), ordinary,
                    options=("alpha", "gamma", "iou_weighted"), dtypes=FULL),
        Requirement("VFL-4", Level.MUST, Kind.REDUCES_TO, "iou_weighted off leaves the positives' weight out.",
                    "the authors' code", value, not_weighted, options=("iou_weighted",), dtypes=FULL, examples=0.5,
                    no_mutant="a weight that is not left out is seen by VFL-3 too"),
        Requirement("VFL-5", Level.MUST, Kind.TIES, "alpha None weighs the negatives 1, 0 silences them.",
                    "ruling alpha-on-negatives", value, alpha_at_its_ends, options=("alpha",), dtypes=FULL,
                    examples=0.5),
        Requirement("VFL-6", Level.MUST, Kind.TIES, "The smallest quality makes a positive, 0 a negative.",
                    "ruling branch", value, tiny_quality, dtypes=FULL, examples=0.5),
        Requirement("VFL-7", Level.MUST, Kind.EXTREME,
                    "The value follows the formula for logits up to the end of the format.",
                    "ruling no-clamp", value, to_the_end, reaches=_EXTREME, dtypes=FULL),
        Requirement("VFL-8", Level.MUST, Kind.EXTREME,
                    "The gradient follows its formula for logits up to 10^4, at gamma >= 1.", "ruling no-clamp",
                    gradient("logits"), extreme, reaches=_EXTREME, needs_gradient=True, dtypes=FULL,
                    no_mutant=_BOTH_GAMMAS.format("VFL-9")),
        Requirement("VFL-9", Level.SHOULD, Kind.EXTREME,
                    "At gamma in (0, 1) the gradient is finite and right, also where p rounds to 0 or to q.",
                    "ruling below-one", gradient("logits"), small_gamma, needs_gradient=True, options=("gamma",),
                    dtypes=FULL),
        Requirement("VFL-10", Level.SHOULD, Kind.EXTREME, "Half-precision logits give the value computed in float32.",
                    "ruling half-precision", value, ordinary, dtypes=HALF),
        Requirement("VFL-11", Level.SHOULD, Kind.EXTREME,
                    "Half-precision logits give the gradient computed in float32, at gamma >= 1.",
                    "ruling half-precision", gradient("logits"), ordinary, needs_gradient=True, dtypes=HALF),
        Requirement("VFL-12", Level.MUST, Kind.BOUND, "A positive's loss is at least q times the entropy of q.",
                    "equation 2", at_least_the_entropy, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("VFL-1")),
        Requirement("VFL-13", Level.MUST, Kind.BATCH, "A batch gives what its rows give one by one.",
                    "the loss is a sum over elements", batch_equals_per_image, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("VFL-1")),
        Requirement("VFL-14", Level.MUST, Kind.INVARIANCE, "Reordering the elements reorders the losses.",
                    "the loss is a sum over elements", permutation, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("VFL-1")),
        Requirement("VFL-15", Level.MUST, Kind.EMPTY, "No elements give no losses, in the same shape.",
                    "ruling: an image without anchors is legal", value, empty, dtypes=FULL, examples=0.2),
        Requirement("VFL-16", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity, ordinary,
                    dtypes=FULL, examples=0.3),
        Requirement("VFL-17", Level.SHOULD, Kind.ERROR, "Targets of another shape than the logits' are refused.",
                    "house rule", refuses(bad_shape("targets")), ordinary, dtypes=FULL, examples=0.2),
        Requirement("VFL-18", Level.MAY, Kind.EXTREME,
                    "NaN stays in its element; an infinite logit gives the limit.", "ruling no-clamp", value,
                    not_finite, dtypes=FULL, examples=0.5),
        Requirement("VFL-19", Level.MAY, Kind.ERROR, "A negative gamma or alpha is refused.", "house rule",
                    _BAD_OPTIONS, ordinary, dtypes=FULL, examples=0.2),
        Requirement("VFL-20", Level.MUST, Kind.GRADIENT, "The gradient follows every option as the value does.",
                    "derivative of equation 2", gradient("logits"), odd_options, needs_gradient=True,
                    options=("alpha", "gamma", "iou_weighted"), dtypes=FULL, examples=0.5),
        Requirement("VFL-21", Level.MAY, Kind.EXTREME,
                    "The gradient stays finite for an infinite logit; NaN stays in its element.", "ruling no-clamp",
                    gradient("logits"), not_finite, needs_gradient=True, dtypes=FULL, examples=0.5),
    ),
    mutants=MUTANTS,
    rulings=_RULINGS,
    not_applicable={
        Kind.DETACHED: "ruling constant-target; VFL-2 catches an implementation that detaches the factor",
        Kind.LIMIT: "VFL-7 and VFL-8 compare with the formula itself at both ends",
        Kind.CONSERVATION: "element losses conserve nothing",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip


# --- from class labels ----------------------------------------------------------------------------------------


def practical_error_with_labels(case: Case, u: float) -> Array:
    """As for targets."""
    return np.where(counted(case), _error(case, targets_of(case), u), 0.0)


def practical_gradient_error_with_labels(case: Case, u: float) -> Array:
    """As for targets."""
    return np.where(counted(case), _gradient_error(case, targets_of(case), u), 0.0)


def _labelled(draw: Draw, logits: Array, dtype: str, gamma: float, *, lowest: int = 0) -> Case:
    arguments = {
        "logits": logits,
        "labels": draw_labels(draw, logits, lowest=lowest),
        "quality": draw_targets(draw, logits.shape[:-1], dtype),
    }
    options = {**_options(draw, gamma), "branch": draw.choice(("quality", "quality", "label"))}
    return Case(arguments, options, dtype, draw.cotangent(logits.shape, dtype))


def _anchors(draw: Draw, dtype: str) -> Array:
    return draw.logits(draw.shape(draw.integer(2, 3), high=3), dtype)


def labelled(draw: Draw) -> Case:
    """Foreground and background anchors, logits within 12, no foreground of quality 0."""
    dtype = draw.dtype()
    case = _labelled(draw, _anchors(draw, dtype), dtype, _gamma(draw))
    quality = case.arguments["quality"]
    return replace(case, arguments={**case.arguments, "quality": np.where(quality == 0.0, 0.25, quality)})


def quality_0(draw: Draw) -> Case:
    """Foreground anchors of quality 0 among others."""
    dtype = draw.dtype()
    case = _labelled(draw, _anchors(draw, dtype), dtype, _gamma(draw))
    labels, quality = case.arguments["labels"].copy(), case.arguments["quality"].copy()
    labels.flat[0], quality.flat[0] = 0, 0.0
    weighted = draw.choice((True, False))
    return case.with_arguments(labels=labels, quality=quality).with_options(iou_weighted=weighted)


def labelled_odd_options(draw: Draw) -> Case:
    """One option at an end of its range, or a foreground anchor of quality 0."""
    return quality_0(draw) if draw.flag(30) else _odd_options(draw, labelled(draw))


def some_ignored(draw: Draw) -> Case:
    """The same with ignored anchors."""
    dtype = draw.dtype()
    return _labelled(draw, _anchors(draw, dtype), dtype, _gamma(draw), lowest=-1).with_options(branch="quality")


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
    """Logits from 15 to 10^4, gamma >= 1."""
    dtype = draw.dtype()
    logits = draw.extreme_logits(draw.shape(2, high=3), dtype, to_the_end=False)
    return _labelled(draw, logits, dtype, draw.choice((2.0, 1.0, 1.5))).with_options(branch="quality")


def labelled_small_gamma(draw: Draw) -> Case:
    """Gamma in (0, 1): a score on its target among logits from 15 on."""
    case = labelled_extreme(draw).with_options(gamma=draw.choice(_SMALL_GAMMA))
    if draw.flag():
        return case
    logits, labels, quality = (case.arguments[name].copy() for name in ("logits", "labels", "quality"))
    logits.flat[0], labels.flat[0], quality.flat[0] = 0.0, 0, 0.5
    return replace(case, arguments={"logits": logits, "labels": labels, "quality": quality})


def labelled_infinite(draw: Draw) -> Case:
    """Infinite logits in the channel of foreground anchors of quality 0 and 1, a finite anchor at the end."""
    dtype = draw.dtype()
    case = _labelled(draw, draw.logits((5, draw.integer(1, 3)), dtype), dtype, _gamma(draw))
    logits, labels, quality = (case.arguments[name].copy() for name in ("logits", "labels", "quality"))
    logits[:4, 0], labels[:4], quality[:4] = (np.inf, -np.inf, np.inf, -np.inf), 0, (0.0, 0.0, 1.0, 1.0)
    options = {"iou_weighted": draw.choice((True, False)), "alpha": draw.choice((0.75, 0.0))}
    return case.with_arguments(logits=logits, labels=labels, quality=quality).with_options(**options)


def labelled_not_finite(draw: Draw) -> Case:
    """The same, and NaN in a channel of a background anchor."""
    case = labelled_infinite(draw)
    logits, labels = case.arguments["logits"].copy(), case.arguments["labels"].copy()
    logits[4, -1], labels[4] = np.nan, logits.shape[-1]
    return case.with_arguments(logits=logits, labels=labels)


def labelled_empty(draw: Draw) -> Case:
    """No anchor, or no image."""
    dtype = draw.dtype()
    return _labelled(draw, np.zeros(draw.choice(((0, 3), (2, 0, 3), (0, 4, 2)))), dtype, _gamma(draw))


def labelled_photograph(seed: int) -> Case:
    """Every point of a real detector on a photograph: 168,000 scores, all but some of them of background."""
    options: dict[str, OptionValue] = {"alpha": 0.75, "gamma": 2.0, "iou_weighted": True, "branch": "quality"}
    return Case(photograph(seed), options, "float32", origin=f"photograph {seed % 3}")


def loss_of_targets(bench: Bench, case: Case) -> None:
    """Equal to the form by targets, with the quality in the channel of the true class."""
    answer = bench.evaluate(case)
    dtype = float_format(answer.dtypes[0], case)
    options = {name: case.options[name] for name in ("alpha", "gamma", "iou_weighted")}
    by_targets = oracle.varifocal_loss(case.arguments["logits"], targets_of(case), **options)  # type: ignore[arg-type]
    bench.expect_close(case, answer.outputs[0], by_targets, bench.bounds(case, dtype), dtype, "value of the targets")


_LABELS = {
    "a background anchor": lambda c: bool((c.arguments["labels"] == c.arguments["logits"].shape[-1]).any()),
    "a foreground anchor": lambda c: bool((c.arguments["labels"] < c.arguments["logits"].shape[-1]).any()),
    "one class": lambda c: c.arguments["logits"].shape[-1] == 1,
}
_IGNORED = {"an ignored anchor": lambda c: bool((c.arguments["labels"] == -1).any())}

VARIFOCAL_LOSS_WITH_LABELS = replace(
    VARIFOCAL_LOSS,
    id="varifocal_loss_with_labels",
    title="Varifocal loss from class labels",
    summary="The varifocal loss of anchors, each with one class id and quality, background or ignored.",
    oracle=oracle.varifocal_loss_with_labels,
    gradients={"logits": oracle.varifocal_loss_with_labels_grad},
    arguments=(
        Argument("logits", ("...", "C"), "float", "scores before the sigmoid", differentiable=True),
        Argument("labels", ("...",), "int", "0..C-1 foreground, C background, -1 ignore"),
        Argument("quality", ("...",), "float", "IoU of the predicted box with its object, read at foreground anchors",
                 domain=quality_domain),
    ),
    options=(*_OPTIONS, Option("branch", "quality", f"what makes a positive, one of {', '.join(oracle.BRANCHES)}")),
    outputs=(Output("loss", ("...", "C"), "float", "element losses, not reduced"),),
    practical_error=practical_error_with_labels,
    practical_gradient_error=practical_gradient_error_with_labels,
    dialects=(
        Dialect("quality", "a foreground anchor of quality 0 is a negative", {"branch": "quality"},
                departs_from_paper=False),
        Dialect("label", "a foreground anchor of quality 0 is a positive, of weight 0", {"branch": "label"}),
    ),
    rulings=(
        *_RULINGS,
        Ruling("ignore", "Label -1 contributes no loss and no gradient, whatever its logits are (the authors' code "
               "trains ignored anchors as negatives in this loss)."),
    ),
    requirements=(
        Requirement("VFLL-1", Level.MUST, Kind.VALUE,
                    "The target is the quality in the channel of an anchor's class, and 0 in all others.",
                    "equation 2", value, labelled, scenes=(labelled_photograph,), reaches=_LABELS, dtypes=FULL),
        Requirement("VFLL-2", Level.MUST, Kind.GRADIENT,
                    "The gradient is that of the whole expression, at gamma >= 1.", "derivative of equation 2",
                    gradient("logits"), labelled, scenes=(labelled_photograph,), needs_gradient=True, dtypes=FULL),
        Requirement("VFLL-3", Level.MUST, Kind.TIES,
                    "A foreground anchor of quality 0 is a negative; in the dialect label, a positive.",
                    "ruling branch", value, quality_0, dtypes=FULL, examples=0.5,
                    no_mutant="the wrong branch is seen by VFLL-22 too, where a library may fail for other reasons"),
        Requirement("VFLL-4", Level.MUST, Kind.EMPTY, "An ignored anchor has loss 0.", "ruling ignore", value,
                    some_ignored, reaches=_IGNORED, dtypes=FULL, examples=0.5,
                    no_mutant="an ignored anchor with a loss has one for any logit, so VFLL-6 sees it too"),
        Requirement("VFLL-5", Level.MUST, Kind.DETACHED, "An ignored anchor has gradient 0.", "ruling ignore",
                    gradient("logits"), some_ignored, reaches=_IGNORED, needs_gradient=True, dtypes=FULL,
                    examples=0.5),
        Requirement("VFLL-6", Level.SHOULD, Kind.EXTREME, "NaN or infinite logits of an ignored anchor count nothing.",
                    "ruling ignore", value, ignored_not_finite, dtypes=FULL, examples=0.3),
        Requirement("VFLL-7", Level.SHOULD, Kind.EXTREME,
                    "The quality is not read where there is no object; NaN may stand there.", "equation 2", value,
                    no_quality, dtypes=FULL, examples=0.3),
        Requirement("VFLL-8", Level.MUST, Kind.REDUCES_TO, "It is the form by targets.", "equation 2", loss_of_targets,
                    labelled, dtypes=FULL, no_mutant=_IMPLIED.format("VFLL-1"), examples=0.3),
        Requirement("VFLL-9", Level.MUST, Kind.EXTREME, "The value follows the formula for logits up to 10^4.",
                    "ruling no-clamp", value, labelled_extreme, dtypes=FULL),
        Requirement("VFLL-10", Level.MUST, Kind.EXTREME,
                    "The gradient follows its formula for logits up to 10^4, at gamma >= 1.", "ruling no-clamp",
                    gradient("logits"), labelled_extreme, needs_gradient=True, dtypes=FULL,
                    no_mutant=_BOTH_GAMMAS.format("VFLL-11")),
        Requirement("VFLL-11", Level.SHOULD, Kind.EXTREME,
                    "At gamma in (0, 1) the gradient is finite and right, also where p rounds to 0 or to q.",
                    "ruling below-one", gradient("logits"), labelled_small_gamma, needs_gradient=True,
                    options=("gamma",), dtypes=FULL),
        Requirement("VFLL-12", Level.SHOULD, Kind.EXTREME,
                    "Half-precision logits give the value computed in float32.", "ruling half-precision", value,
                    labelled, dtypes=HALF),
        Requirement("VFLL-13", Level.MUST, Kind.BATCH, "A batch gives what its images give one by one.",
                    "the loss is a sum over anchors", batch_equals_per_image, labelled, dtypes=FULL,
                    no_mutant=_IMPLIED.format("VFLL-1"), examples=0.3),
        Requirement("VFLL-14", Level.MUST, Kind.BATCH, "Ignored anchors at the end of an image change no other loss.",
                    "ruling ignore", padding(0, logits=0.0, labels=-1, quality=0.0), labelled, dtypes=FULL,
                    no_mutant=_IMPLIED.format("VFLL-1"), examples=0.3),
        Requirement("VFLL-15", Level.MUST, Kind.INVARIANCE, "Reordering the anchors reorders the losses.",
                    "the loss is a sum over anchors", permutation, labelled, dtypes=FULL,
                    no_mutant=_IMPLIED.format("VFLL-1"), examples=0.3),
        Requirement("VFLL-16", Level.MUST, Kind.EMPTY, "No anchors give no losses, in the same shape.",
                    "ruling: an image without anchors is legal", value, labelled_empty, dtypes=FULL, examples=0.2),
        Requirement("VFLL-17", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity,
                    some_ignored, dtypes=FULL, examples=0.3),
        Requirement("VFLL-18", Level.SHOULD, Kind.ERROR, "Labels that do not fit the logits are refused.",
                    "house rule", refuses(bad_shape("labels")), labelled, dtypes=FULL, examples=0.2),
        Requirement("VFLL-19", Level.MAY, Kind.ERROR, "A negative gamma or alpha and an unknown branch are refused.",
                    "house rule",
                    refuses(bad_option("gamma", -1.0), bad_option("alpha", -1.0), bad_option("branch", "anchor")),
                    labelled, dtypes=FULL, examples=0.2),
        Requirement("VFLL-20", Level.MUST, Kind.REDUCES_TO, "The value follows every option.", "equation 2", value,
                    lambda draw: _odd_options(draw, labelled(draw)), options=("alpha", "gamma", "iou_weighted"),
                    dtypes=FULL, examples=0.5),
        Requirement("VFLL-21", Level.MUST, Kind.GRADIENT, "The gradient follows every option as the value does.",
                    "derivative of equation 2", gradient("logits"), labelled_odd_options, needs_gradient=True,
                    options=("alpha", "gamma", "iou_weighted"), dtypes=FULL, examples=0.5),
        Requirement("VFLL-22", Level.MAY, Kind.EXTREME,
                    "An infinite logit gives the limit, and costs nothing with weight 0.", "ruling no-clamp", value,
                    labelled_infinite, dtypes=FULL, examples=0.5),
        Requirement("VFLL-23", Level.MAY, Kind.EXTREME,
                    "The gradient stays finite for an infinite logit; NaN stays in its element.", "ruling no-clamp",
                    gradient("logits"), labelled_not_finite, needs_gradient=True, dtypes=FULL, examples=0.5),
    ),
    mutants=LABEL_MUTANTS,
    not_applicable={
        Kind.LIMIT: "VFLL-9 and VFLL-10 compare with the formula itself at both ends",
        Kind.BOUND: "as for targets, by VFLL-8",
        Kind.CONSERVATION: "element losses conserve nothing",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
