"""Contract of the softmax focal loss.

Lin et al., "Focal Loss for Dense Object Detection", ICCV 2017 (arXiv 1708.02002), section 3.2.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steelyard.conformance.checking import (
    bad_option,
    bad_shape,
    batch_equals_per_image,
    gradient,
    permutation,
    purity,
    reduces_to,
    refuses,
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
from steelyard.conformance.precision import round_to
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
from steelyard.conformance.soft_sampling.softmax_laws import gradient_sums_to_zero, shift_changes_nothing
from steelyard.reference.logistic import sigmoid, softplus
from steelyard.reference.soft_sampling import softmax_focal_loss as oracle

Alpha = float | None

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, logits: Array, dtype: str, *, gamma: float, lowest: int = 0) -> Case:
    labels = draw.integers(logits.shape[:-1], lowest, logits.shape[-1] - 1)
    options = {"alpha": draw_alpha(draw), "gamma": gamma}
    return Case({"logits": logits, "labels": labels}, options, dtype, draw.cotangent(labels.shape, dtype))


def _channels(draw: Draw) -> tuple[int, ...]:
    return (*draw.shape(draw.integer(1, 2), high=3), draw.integer(2, 4))


def ordinary(draw: Draw) -> Case:
    """Foreground and background anchors, logits within 12."""
    dtype = draw.dtype()
    return _case(draw, draw.logits(_channels(draw), dtype), dtype, gamma=draw_gamma(draw))


def some_ignored(draw: Draw) -> Case:
    """The same with ignored anchors."""
    dtype = draw.dtype()
    return _case(draw, draw.logits(_channels(draw), dtype), dtype, gamma=draw_gamma(draw), lowest=-1)


def alpha_at_its_ends(draw: Draw) -> Case:
    """Alpha None, 0 or 1."""
    return ordinary(draw).with_options(alpha=draw.choice((None, 0.0, 1.0)))


def extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4."""
    dtype = draw.dtype()
    logits = draw.extreme_logits(_channels(draw), dtype, to_the_end=False)
    return _case(draw, logits, dtype, gamma=draw.choice((2.0, 1.0, 5.0)))


def extreme_small_gamma(draw: Draw) -> Case:
    """The same with gamma in [0, 1): the derivative of a power is infinite where 1 - p is 0."""
    return extreme(draw).with_options(gamma=draw.choice((0.5, 0.25, 0.75, 0.0)))


def empty(draw: Draw) -> Case:
    """No anchor."""
    dtype = draw.dtype()
    return _case(draw, np.zeros(draw.choice(((0, 3), (2, 0, 3)))), dtype, gamma=draw_gamma(draw))


def scene(seed: int) -> Case:
    """Two images of 2,000 anchors over 20 classes and the background, one in a thousand foreground."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random((2, 2000)) < 1e-3, random.integers(0, 20, (2, 2000)), 20)
    logits = random.normal(0.0, 1.5, (*labels.shape, 21))
    logits[..., -1] += 6.0
    options = {"alpha": 0.25, "gamma": 2.0}
    return Case({"logits": round_to("float32", logits), "labels": labels}, options, "float32", origin=f"scene {seed}")


# --- laws and practical errors --------------------------------------------------------------------------------


def _alpha_y(case: Case) -> Array:
    labels, alpha = case.arguments["labels"], case.options["alpha"]
    background = case.arguments["logits"].shape[-1] - 1
    weight = np.ones(labels.shape) if alpha is None else np.where(labels == background, 1.0 - float(alpha), alpha)
    return np.where(labels == -1, 0.0, weight)


def _margin(case: Case) -> Array:
    """True logit minus the log-sum-exp of the others, in the plainest way."""
    z, labels = case.arguments["logits"], np.maximum(case.arguments["labels"], 0)
    others = np.where(labels[..., None] == np.arange(z.shape[-1]), -np.inf, z)
    return np.asarray(np.take_along_axis(z, labels[..., None], -1)[..., 0] - np.logaddexp.reduce(others, axis=-1))


def practical_error(case: Case, u: float) -> Array:
    """alpha_y times the error of the textbook formula, whose log-softmax cancels the logits."""
    size = np.abs(case.arguments["logits"]).max(axis=-1, initial=0.0)
    return _alpha_y(case) * textbook_error(_margin(case), option(case, "gamma"), size, u)


def practical_gradient_error(case: Case, u: float) -> Array:
    """The gradient's: every channel's derivative is at most that by the margin."""
    size = np.abs(case.arguments["logits"]).max(axis=-1, initial=0.0)
    error = _alpha_y(case) * textbook_derivative_error(_margin(case), option(case, "gamma"), size, u)
    if case.cotangent is not None:
        error = error * np.abs(case.cotangent)
    return np.asarray(np.broadcast_to(error[..., None], case.arguments["logits"].shape))


def half_of_cross_entropy(case: Case) -> Array:
    """Cross entropy over two, from the definition."""
    z, labels = case.arguments["logits"], case.arguments["labels"]
    true = np.take_along_axis(z, labels[..., None], -1)[..., 0]
    return np.asarray(np.logaddexp.reduce(z - true[..., None], axis=-1) / 2)


# --- mutants --------------------------------------------------------------------------------------------------


Weigh = Callable[[Array, int, float], Array]


def _with_wrong_alpha(weigh: Weigh) -> Callable[..., Array]:
    def loss(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
        plain_loss = oracle.softmax_focal_loss(logits, labels, alpha=None, gamma=gamma)
        return plain_loss if alpha is None else plain_loss * weigh(np.asarray(labels), np.shape(logits)[-1] - 1, alpha)

    return loss


def _with_wrong_alpha_grad(weigh: Weigh) -> Callable[..., Array]:
    def gradient(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
        exact = oracle.softmax_focal_loss_grad(logits, labels, alpha=None, gamma=gamma)
        weights = 1.0 if alpha is None else weigh(np.asarray(labels), np.shape(logits)[-1] - 1, alpha)[..., None]
        return np.asarray(exact * weights)

    return gradient


def _same_for_all(labels: Array, background: int, alpha: float) -> Array:
    return np.full(labels.shape, alpha)


def _first_is_background(labels: Array, background: int, alpha: float) -> Array:
    return np.where(labels == 0, 1 - alpha, alpha)


def _swapped(labels: Array, background: int, alpha: float) -> Array:
    return np.where(labels == background, alpha, 1 - alpha)


def _split(labels: Array, classes: int, alpha: Alpha) -> Array:
    """The right weights, 0 for ignored anchors; (..., 1)."""
    weights = np.ones(labels.shape) if alpha is None else np.where(labels == classes - 1, 1 - alpha, alpha)
    return np.where(labels == -1, 0.0, weights)[..., None]


def per_channel_binary(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    """The binary cross entropy of every channel, times the distance of its softmax from its target."""
    x, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    _, _, probabilities, one_hot = _softmax_parts(logits, labels)
    distance = np.where(one_hot, 1 - probabilities, probabilities).astype(np.float64)
    loss = distance**gamma * softplus(np.where(one_hot, -x, x))
    return np.asarray((_split(labels, x.shape[-1], alpha) * loss).sum(axis=-1))


def per_channel_binary_grad(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    x, labels = np.asarray(logits, dtype=np.float64), np.asarray(labels)
    _, _, probabilities, one_hot = _softmax_parts(logits, labels)
    distance = np.where(one_hot, 1 - probabilities, probabilities).astype(np.float64)
    sign = np.where(one_hot, -1.0, 1.0)
    slope_of_power = gamma * distance ** (gamma - 1) if gamma else np.zeros(x.shape)
    # through a channel's softmax every logit moves it; through its cross entropy only its own
    pull = slope_of_power * softplus(np.where(one_hot, -x, x)) * sign * probabilities
    through_softmax = pull - probabilities * pull.sum(axis=-1, keepdims=True)
    own = distance**gamma * (sigmoid(x) - one_hot)
    exact = _split(labels, x.shape[-1], alpha) * (through_softmax + own)
    # by autograd; in the working dtype a distance may be 0, where the power's slope is infinite
    _, _, rounded, _ = _softmax_parts(logits, labels)
    lost = (np.where(one_hot, 1 - rounded, rounded) == 0).any(axis=-1) & (0 < gamma < 1) & (labels != -1)
    return np.where(lost[..., None], np.nan, exact)


def _softmax_parts(logits: Array, labels: Array) -> tuple[Array, Array, Array, Array]:
    """P of the true class, 1 - p, all probabilities, one-hot; probabilities in the working dtype."""
    z = np.asarray(logits)
    shares = np.exp(z - z.max(axis=-1, keepdims=True, initial=-np.inf))
    probabilities = shares / shares.sum(axis=-1, keepdims=True)
    one_hot = np.maximum(labels, 0)[..., None] == np.arange(z.shape[-1])
    p = (probabilities * one_hot).sum(axis=-1)
    return p, 1 - p, probabilities, one_hot


def log_epsilon(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    weights = oracle.softmax_focal_loss(np.zeros(np.shape(logits)), labels, alpha=alpha, gamma=0.0)
    p, q, _, _ = _softmax_parts(logits, labels)
    return -weights / np.log(np.shape(logits)[-1]) * q**gamma * np.log(p + 1e-8)


def detached_factor_grad(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    cross_entropy = oracle.softmax_focal_loss_grad(logits, labels, alpha=alpha, gamma=0.0)
    _, q, _, _ = _softmax_parts(np.asarray(logits, dtype=np.float64), labels)
    return q[..., None] ** gamma * cross_entropy


def power_rule_grad(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    """The published backward formula, with (1 - p) ** (gamma - 1): NaN where 1 - p rounds to 0."""
    exact = oracle.softmax_focal_loss_grad(logits, labels, alpha=alpha, gamma=gamma)
    _, q, _, _ = _softmax_parts(logits, labels)
    lost = (q == 0) & (gamma < 1) & (np.asarray(labels) != -1)
    return np.where(lost[..., None], np.nan, exact)


def autograd_power_rule_grad(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    """The same by autograd, which takes the derivative of a 0th power to be 0."""
    return (oracle.softmax_focal_loss_grad if gamma == 0 else power_rule_grad)(logits, labels, alpha=alpha, gamma=gamma)


def first_class_and_power_rule_grad(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    """Alpha as above; by autograd, through the power of every channel, also of those whose loss does not count."""
    exact = _with_wrong_alpha_grad(_first_is_background)(logits, labels, alpha=alpha, gamma=gamma)
    _, _, probabilities, _ = _softmax_parts(logits, labels)
    lost = (1 - probabilities == 0).any(axis=-1) & (0 < gamma < 1) & (np.asarray(labels) != -1)
    return np.where(lost[..., None], np.nan, exact)


def background_first(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    labels = np.asarray(labels)
    moved = np.where(labels == -1, -1, (labels + 1) % np.shape(logits)[-1])
    return oracle.softmax_focal_loss(logits, moved, alpha=alpha, gamma=gamma)


def ignored_is_background(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    labels = np.where(np.asarray(labels) == -1, np.shape(logits)[-1] - 1, labels)
    return oracle.softmax_focal_loss(logits, labels, alpha=alpha, gamma=gamma)


def ignored_is_background_grad(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    labels = np.where(np.asarray(labels) == -1, np.shape(logits)[-1] - 1, labels)
    return oracle.softmax_focal_loss_grad(logits, labels, alpha=alpha, gamma=gamma)


def zero_gamma_is_default(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    return oracle.softmax_focal_loss(logits, labels, alpha=alpha, gamma=gamma or 2.0)


def zero_alpha_is_default(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    return oracle.softmax_focal_loss(logits, labels, alpha=0.25 if alpha == 0 else alpha, gamma=gamma)


def half_arithmetic(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    exact = oracle.softmax_focal_loss(logits, labels, alpha=alpha, gamma=gamma)
    if np.asarray(logits).dtype != np.float16:
        return exact
    p, _, _, _ = _softmax_parts(logits, labels)
    return np.where(p.astype(np.float16) < np.float16(1e-4), np.inf, exact)


def cut_logits(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    return oracle.softmax_focal_loss(np.clip(logits, -50, 50), labels, alpha=alpha, gamma=gamma)


def in_place(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    loss = oracle.softmax_focal_loss(logits, labels, alpha=alpha, gamma=gamma)
    logits -= logits.max(axis=-1, keepdims=True, initial=0.0) + 1
    return loss


def unchecked(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    loss = oracle.softmax_focal_loss(logits, labels, alpha=None, gamma=max(gamma, 0.0))
    background = np.asarray(labels) == np.shape(logits)[-1] - 1
    return loss if alpha is None else loss * np.where(background, 1 - alpha, alpha)


def broadcast(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    z = np.asarray(logits)
    if z.shape[:-1] != np.shape(labels):
        z = np.broadcast_to(z[:1], (*np.shape(labels), z.shape[-1]))
    return oracle.softmax_focal_loss(z, labels, alpha=alpha, gamma=gamma)


def raises_on_empty(logits: Array, labels: Array, *, alpha: Alpha, gamma: float) -> Array:
    np.max(logits)  # raises on an empty array
    return oracle.softmax_focal_loss(logits, labels, alpha=alpha, gamma=gamma)


_LOSS = oracle.softmax_focal_loss
MUTANTS = (
    Mutant("softmax-focal/no-split", "the same alpha for foreground and background",
           _with_wrong_alpha(_same_for_all), _with_wrong_alpha_grad(_same_for_all), seen_in="mmcv"),
    Mutant("softmax-focal/first-class-is-background", "alpha for every class but the first, which gets 1 - alpha",
           _with_wrong_alpha(_first_is_background), _with_wrong_alpha_grad(_first_is_background),
           seen_in="kornia, monai"),
    Mutant("softmax-focal/first-class-and-power-rule",
           "alpha for every class but the first, and a NaN gradient for gamma in (0, 1) once a p rounds to 1",
           _with_wrong_alpha(_first_is_background), first_class_and_power_rule_grad, seen_in="monai"),
    Mutant("softmax-focal/swapped-split", "alpha for the background and 1 - alpha for the foreground",
           _with_wrong_alpha(_swapped), _with_wrong_alpha_grad(_swapped)),
    Mutant("softmax-focal/per-channel-binary", "binary cross entropies of all channels in place of the softmax's",
           per_channel_binary, per_channel_binary_grad, seen_in="pytorch-toolbelt"),
    Mutant("softmax-focal/background-first", "labels shifted, as where the background is channel 0", background_first,
           seen_in="Detectron's convention"),
    Mutant("softmax-focal/detached-factor", "the modulating factor treated as a constant in the gradient", _LOSS,
           detached_factor_grad),
    Mutant("softmax-focal/power-rule", "NaN gradient for gamma < 1 once 1 - p rounds to 0, by differentiating a power",
           _LOSS, power_rule_grad, seen_in="caffe2 and mmcv (their backward formula)"),
    Mutant("softmax-focal/autograd-power-rule", "NaN gradient for gamma in (0, 1) once 1 - p rounds to 0", _LOSS,
           autograd_power_rule_grad, seen_in="imbalanced-losses"),
    Mutant("softmax-focal/log-epsilon", "log(p + 1e-8): the loss of hard examples stops growing", log_epsilon),
    Mutant("softmax-focal/cut-logits", "logits cut to [-50, 50]", cut_logits, oracle.softmax_focal_loss_grad),
    Mutant("softmax-focal/zero-gamma-is-default", "gamma = 0 taken as not given", zero_gamma_is_default,
           oracle.softmax_focal_loss_grad),
    Mutant("softmax-focal/zero-alpha-is-default", "alpha = 0 taken as not given", zero_alpha_is_default),
    Mutant("softmax-focal/ignored-is-background", "ignored anchors trained as background", ignored_is_background,
           ignored_is_background_grad),
    Mutant("softmax-focal/ignored-loss", "a loss for ignored anchors, whose gradient is 0", ignored_is_background,
           oracle.softmax_focal_loss_grad),
    Mutant("softmax-focal/ignored-gradient", "a gradient for ignored anchors, whose loss is 0", _LOSS,
           ignored_is_background_grad),
    Mutant("softmax-focal/half-arithmetic", "probabilities in float16, infinite loss below 1e-4", half_arithmetic),
    Mutant("softmax-focal/in-place", "the logits overwritten", in_place),
    Mutant("softmax-focal/unchecked", "no check of the options", unchecked),
    Mutant("softmax-focal/broadcast", "logits broadcast to labels of another shape", broadcast),
    Mutant("softmax-focal/raises-on-empty", "an error on empty input", raises_on_empty),
)  # fmt: skip


# --- contract -------------------------------------------------------------------------------------------------

_ORDINARY = {
    "a background anchor": lambda c: bool((c.arguments["labels"] == c.arguments["logits"].shape[-1] - 1).any()),
    "a foreground anchor": lambda c: bool((c.arguments["labels"] < c.arguments["logits"].shape[-1] - 1).any()),
    "two channels": lambda c: c.arguments["logits"].shape[-1] == 2,
    "equal logits": lambda c: bool((np.diff(c.arguments["logits"], axis=-1) == 0).any()),
    "gamma in (0, 1)": lambda c: 0 < c.options["gamma"] < 1,
}
_EXTREME = {
    "p rounds to 1": lambda c: bool((_margin(c) > 40).any()),
    "p rounds to 0": lambda c: bool((_margin(c) < -750).any()),
}
_IMPLIED = "implied by SFL-1; kept because a failure then names the law that is broken"
_EVERYWHERE = "a wrong formula is wrong under extreme logits too; SFL-1 and SFL-2 name the ordinary case"

SOFTMAX_FOCAL_LOSS = Technique(
    id="softmax_focal_loss",
    title="Softmax focal loss",
    family="soft_sampling",
    summary="Softmax cross entropy times (1 - p)^gamma, over the classes and the background.",
    sources=(PAPER, "Detectron's softmax focal loss operator (the split of alpha)"),
    oracle=oracle.softmax_focal_loss,
    gradients={"logits": oracle.softmax_focal_loss_grad},
    arguments=(
        Argument("logits", ("...", "C+1"), "float", "scores before the softmax; the background is last",
                 differentiable=True),
        Argument("labels", ("...",), "int", "0..C-1 foreground, C background, -1 ignore"),
    ),
    options=(
        Option("alpha", 0.25, "weight of foreground anchors, in [0, 1]; background has 1 - alpha; None: no weights"),
        Option("gamma", 2.0, "focusing exponent, >= 0; 0 is cross entropy"),
    ),
    outputs=(Output("loss", ("...",), "float", "one loss an anchor, not reduced"),),
    practical_error=practical_error,
    practical_gradient_error=practical_gradient_error,
    requirements=(
        Requirement("SFL-1", Level.MUST, Kind.VALUE, "Each anchor's loss is -alpha_y (1 - p)^gamma log(p).",
                    "section 3.2", value, ordinary, scenes=(scene,), reaches=_ORDINARY, dtypes=FULL,
                    no_mutant=_EVERYWHERE),
        Requirement("SFL-2", Level.MUST, Kind.GRADIENT, "The gradient is that of the whole expression.",
                    "appendix B with the softmax's derivative", gradient("logits"), ordinary, scenes=(scene,),
                    reaches=_ORDINARY, needs_gradient=True, dtypes=FULL, no_mutant=_EVERYWHERE),
        Requirement("SFL-3", Level.MUST, Kind.REDUCES_TO, "With gamma 0 and alpha 1/2 it is half the cross entropy.",
                    "section 3.2", reduces_to(half_of_cross_entropy, alpha=0.5, gamma=0.0), ordinary,
                    options=("alpha", "gamma"), dtypes=FULL),
        Requirement("SFL-4", Level.MUST, Kind.TIES, "alpha None weighs all anchors 1; 0 and 1 are legal.",
                    "ruling alpha-split", value, alpha_at_its_ends, options=("alpha",), dtypes=FULL),
        Requirement("SFL-5", Level.MUST, Kind.EXTREME, "The value follows the formula for logits up to 10^4.",
                    "ruling no-clamp", value, extreme, reaches=_EXTREME, dtypes=FULL),
        Requirement("SFL-6", Level.MUST, Kind.EXTREME, "The gradient is finite and right for logits up to 10^4.",
                    "ruling no-clamp", gradient("logits"), extreme, reaches=_EXTREME, needs_gradient=True, dtypes=FULL,
                    no_mutant="a gradient that is lost here is lost at gamma below 1 too, where SFL-7 sees it"),
        Requirement("SFL-7", Level.MUST, Kind.EXTREME,
                    "At gamma in [0, 1) the gradient is finite also where 1 - p rounds to 0.",
                    "ruling finite-gradient", gradient("logits"), extreme_small_gamma, reaches=_EXTREME,
                    needs_gradient=True, options=("gamma",), dtypes=FULL),
        Requirement("SFL-8", Level.SHOULD, Kind.EXTREME, "Half-precision logits give the value computed in float32.",
                    "ruling half-precision", value, ordinary, dtypes=HALF),
        Requirement("SFL-9", Level.MUST, Kind.EMPTY, "An ignored anchor has loss 0.", "ruling ignore", value,
                    some_ignored, dtypes=FULL, examples=0.5,
                    reaches={"an ignored anchor": lambda c: bool((c.arguments["labels"] == -1).any())}),
        Requirement("SFL-10", Level.MUST, Kind.DETACHED, "An ignored anchor has gradient 0.", "ruling ignore",
                    gradient("logits"), some_ignored, needs_gradient=True, dtypes=FULL, examples=0.5),
        Requirement("SFL-11", Level.MUST, Kind.CONSERVATION, "The gradient of an anchor sums to 0 over its channels.",
                    "derivative of the softmax", gradient_sums_to_zero("logits"), ordinary, needs_gradient=True,
                    dtypes=FULL, examples=0.3, no_mutant="implied by SFL-2; names the law that is broken"),
        Requirement("SFL-12", Level.MUST, Kind.INVARIANCE,
                    "A constant added to all logits changes nothing.",
                    "definition of the softmax", shift_changes_nothing, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("SFL-13", Level.MUST, Kind.BATCH, "A batch gives what its images give one by one.", "section 3.2",
                    batch_equals_per_image, ordinary, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("SFL-14", Level.MUST, Kind.INVARIANCE, "Reordering the anchors reorders the losses.", "section 3.2",
                    permutation, ordinary, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("SFL-15", Level.MUST, Kind.EMPTY, "No anchors give no losses, in the same shape.",
                    "ruling: an image without anchors is legal", value, empty, dtypes=FULL, examples=0.2),
        Requirement("SFL-16", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.",
                    "house rule", purity, some_ignored, dtypes=FULL, examples=0.3),
        Requirement("SFL-17", Level.SHOULD, Kind.ERROR, "Labels that do not fit the logits are refused.", "house rule",
                    refuses(bad_shape("labels"), without_axes("logits", "labels")), ordinary, dtypes=FULL,
                    examples=0.2),
        Requirement("SFL-18", Level.MAY, Kind.ERROR, "A negative gamma and an alpha outside [0, 1] are refused.",
                    "house rule", refuses(bad_option("gamma", -1.0), bad_option("alpha", 1.5)), ordinary, dtypes=FULL,
                    examples=0.2),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("alpha-split", "alpha weighs foreground anchors, 1 - alpha the background; libraries differ here."),
        Ruling("no-clamp", "log p and log(1 - p) come from the margin of the true logit: no epsilon, no clamp."),
        Ruling("finite-gradient", "The gradient is finite for every gamma >= 0, also where 1 - p rounds to 0."),
        Ruling("half-precision", "float16 and bfloat16 are computed in float32."),
        Ruling("ignore", "Label -1 contributes no loss and no gradient."),
    ),
    not_applicable={
        Kind.LIMIT: "SFL-5 and SFL-6 compare with the formula itself at large logits",
        Kind.BOUND: "implied by the sigmoid form at the margin",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
