"""Contract of the generalized focal loss, the common form of quality and distribution focal loss.

Li et al., "Generalized Focal Loss: Learning Qualified and Distributed Bounding Boxes for Dense Object Detection",
NeurIPS 2020 (arXiv 2006.04388), equation 7.
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
from steelyard.conformance.real_data import dense_image
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.conformance.soft_sampling.generalized_focal_loss_mutants import MUTANTS
from steelyard.conformance.soft_sampling.soft_target_inputs import GFL_PAPER
from steelyard.reference.soft_sampling import generalized_focal_loss as oracle

_FEW = 4.0
_MARGIN = 1.0 / 16.0  # of the interval: what bfloat16 makes of an estimate is off by less

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, probabilities: Array, dtype: str, beta: float, sixteenths: tuple[int, int] = (1, 15)) -> Case:
    """Intervals whose ends, and targets in which, are exact in every format."""
    shape = probabilities.shape[:-1]
    left = draw.array(shape, lambda: draw.choice((0.0, 2.0, 1.0, 5.0, -1.0)))
    width = draw.array(shape, lambda: draw.choice((1.0, 2.0, 0.5)))
    share = draw.array(shape, lambda: draw.integer(*sixteenths) / 16)
    arguments = {
        "probabilities": probabilities,
        "targets": left + width * share,
        "left": left,
        "right": left + width,
    }
    return Case(arguments, {"beta": beta}, dtype, draw.cotangent(shape, dtype))


def _probabilities(draw: Draw, shape: tuple[int, ...], dtype: str) -> Array:
    """Of two values that share everything, or less."""
    right = draw.array(shape, lambda: draw.integer(1, 63) / 64)
    rest = 1.0 - right
    if draw.flag():
        rest = rest * draw.array(shape, lambda: draw.integer(1, 7) / 8)
    return round_to(dtype, np.stack([rest, right], axis=-1))


def _smooth_beta(draw: Draw) -> float:
    return draw.integer(10, 40) / 10 if draw.flag(30) else draw.choice((2.0, 1.0, 1.5, 2.5, 3.0))


def ordinary(draw: Draw) -> Case:
    """Probabilities from 1/512 to 63/64."""
    dtype = draw.dtype()
    beta = draw.choice((0.5, 0.75)) if draw.flag(20) else _smooth_beta(draw)
    return _case(draw, _probabilities(draw, draw.shape(draw.integer(1, 2), high=3), dtype), dtype, beta)


def smooth(draw: Draw) -> Case:
    """The same with beta >= 1, no estimate next to its target."""
    return clear_of_targets(ordinary(draw)).with_options(beta=_smooth_beta(draw))


def clear_of_targets(case: Case) -> Case:
    """Where the estimate is next to the target, the probability moves to the other end of the interval."""
    y_l, y_r, y = (case.arguments[name] for name in ("left", "right", "targets"))
    width = y_r - y_l
    near = np.abs(_estimate(case) - y) < _MARGIN * width
    far = np.where((y - y_l < width / 2)[..., None], [1 / 64, 63 / 64], [63 / 64, 1 / 64])
    probabilities = np.where(near[..., None], far, case.arguments["probabilities"])
    return replace(case, arguments={**case.arguments, "probabilities": probabilities})


def right_estimate(draw: Draw) -> Case:
    """Estimates that are the target to the last bit among others, beta >= 1."""
    case = clear_of_targets(ordinary(draw)).with_options(beta=_smooth_beta(draw))
    shape = case.arguments["targets"].shape
    right = draw.array(shape, lambda: float(draw.flag(60))) == 1.0
    right.flat[0] = True
    middle = (case.arguments["left"] + case.arguments["right"]) / 2
    arguments = {
        **case.arguments,
        "probabilities": np.where(right[..., None], 0.5, case.arguments["probabilities"]),
        "targets": np.where(right, middle, case.arguments["targets"]),
    }
    return replace(case, arguments=arguments)


def right_estimate_small_beta(draw: Draw) -> Case:
    """The same with beta in (0, 1)."""
    return right_estimate(draw).with_options(beta=draw.choice((0.5, 0.25, 0.75)))


def without_focus(draw: Draw) -> Case:
    """Beta 0: estimates that are the target, and others."""
    return right_estimate(draw).with_options(beta=0.0)


def _certain(draw: Draw, *, right: bool) -> Case:
    """Targets at an end of the interval, probability on one of its ends only."""
    dtype = draw.dtype()
    shape = draw.shape(1)
    case = _case(draw, np.ones((*shape, 2)), dtype, _smooth_beta(draw))
    at_left = draw.array(shape, lambda: float(draw.flag())) == 1.0
    on_left = at_left if right else ~at_left
    likely = draw.array(shape, lambda: draw.choice((1.0, 0.5, 0.25)))[..., None]
    arguments = {
        **case.arguments,
        "probabilities": likely * np.where(on_left[..., None], [1.0, 0.0], [0.0, 1.0]),
        "targets": np.where(at_left, case.arguments["left"], case.arguments["right"]),
    }
    return replace(case, arguments=arguments)


def certain_and_right(draw: Draw) -> Case:
    """Probability on the value that is the target only: 0 log 0. Or 0 with a weight, but no distance."""
    case = _certain(draw, right=True)
    if draw.flag(70):
        return case
    # between 0 and 1: the estimate of probabilities 0 and 1/2 is the target 1/2
    half = {"probabilities": np.array([0.0, 0.5]), "targets": np.array(0.5), "left": np.zeros(()), "right": np.ones(())}
    arguments = {name: np.zeros(values.shape) + half[name] for name, values in case.arguments.items()}
    return replace(case, arguments=arguments)


def certain_and_wrong(draw: Draw) -> Case:
    """Probability 0 on the value that is the target: an infinite loss."""
    return replace(_certain(draw, right=False), cotangent=None)


def unlikely(draw: Draw) -> Case:
    """One probability far below the other's last digit."""
    dtype = draw.dtype()
    smallest = PRECISIONS[dtype].smallest_normal
    shape = draw.shape(1, high=4)
    tiny = draw.array(shape, lambda: draw.choice((2.0**-13, 2.0**-14, max(smallest, 1e-12), max(smallest, 1e-30))))
    at_left = draw.array(shape, lambda: float(draw.flag())) == 1.0
    tiny = round_to(dtype, tiny)
    probabilities = np.where(at_left[..., None], np.stack([tiny, np.ones(shape)], axis=-1),
                             np.stack([np.ones(shape), tiny], axis=-1))  # fmt: skip
    return _case(draw, probabilities, dtype, _smooth_beta(draw), sixteenths=(3, 13))


def empty(draw: Draw) -> Case:
    """No element at all."""
    dtype = draw.dtype()
    return _case(draw, np.zeros((*draw.choice(((0,), (0, 3), (2, 0))), 2)), dtype, _smooth_beta(draw))


def photograph(seed: int) -> Case:
    """The two bins around a target, of every distribution of a real detector on a photograph."""
    image = dense_image(seed)
    z = image.distance_logits
    n = z.shape[-1] - 1
    shares = np.exp(z - z.max(axis=-1, keepdims=True))
    shares = shares / shares.sum(axis=-1, keepdims=True)
    anywhere = np.random.default_rng(seed).uniform(0.0, n, image.distance_targets.shape)
    foreground = image.labels < image.class_logits.shape[-1]
    targets = round_to("float32", np.where(foreground[:, None], image.distance_targets, anywhere))
    lower = np.minimum(np.floor(targets), n - 1).astype(np.int64)
    pair = np.take_along_axis(shares, lower[..., None] + np.arange(2), axis=-1)
    arguments = {
        "probabilities": round_to("float32", pair),
        "targets": targets,
        "left": lower.astype(np.float64),
        "right": lower + 1.0,
    }
    return Case(arguments, {"beta": 2.0}, "float32", origin=f"photograph {seed % 3}")


# --- domains and practical errors -----------------------------------------------------------------------------


def _estimate(case: Case) -> Array:
    p = case.arguments["probabilities"]
    return np.asarray(case.arguments["left"] * p[..., 0] + case.arguments["right"] * p[..., 1])


def _is_right(case: Case) -> Array:
    return np.asarray(_estimate(case) == case.arguments["targets"])


def probabilities_domain(moved: Array, case: Case) -> Array:
    """Within [0, 1]; 0 is exact, and so is an estimate that is the target."""
    p = case.arguments["probabilities"]
    return np.where((p == 0.0) | _is_right(case)[..., None], p, np.clip(moved, 0.0, 1.0))


def targets_domain(moved: Array, case: Case) -> Array:
    """Within the interval; its ends are exact, and so is a target that is the estimate."""
    y, y_l, y_r = (case.arguments[name] for name in ("targets", "left", "right"))
    return np.where((y == y_l) | (y == y_r) | _is_right(case), y, np.clip(moved, y_l, y_r))


def _left_domain(moved: Array, case: Case) -> Array:
    return case.arguments["left"]


def _right_domain(moved: Array, case: Case) -> Array:
    return case.arguments["right"]


def _weights(case: Case) -> Array:
    y, y_l, y_r = (case.arguments[name] for name in ("targets", "left", "right"))
    return np.stack([y_r - y, y - y_l], axis=-1)


def _cross_entropy(case: Case) -> Array:
    weights, p = _weights(case), case.arguments["probabilities"]
    with np.errstate(divide="ignore"):
        return np.asarray(-(weights * np.where(weights == 0.0, 0.0, np.log(p))).sum(axis=-1))


def _distance_and_error(case: Case, u: float) -> tuple[Array, Array]:
    """Distance of the estimate from the target, and the roundoffs of the products that cancel in it."""
    p, y = case.arguments["probabilities"], case.arguments["targets"]
    size = np.abs(case.arguments["left"]) * p[..., 0] + np.abs(case.arguments["right"]) * p[..., 1] + np.abs(y)
    return np.abs(_estimate(case) - y), _FEW * u * size


def _change(distance: Array, moved: Array, power: float) -> Array:
    """How far a power of the distance may be off."""
    with np.errstate(all="ignore"):
        exact, further = distance**power, (distance + moved) ** power
        nearer = np.maximum(distance - moved, distance / 4.0) ** power
        return np.nan_to_num(np.maximum(np.abs(further - exact), np.abs(nearer - exact)), nan=0.0, posinf=0.0)


def practical_error(case: Case, u: float) -> Array:
    """The estimate is rounded before the target is taken off."""
    distance, moved = _distance_and_error(case, u)
    beta, entropy = option(case, "beta"), _cross_entropy(case)
    with np.errstate(all="ignore"):
        error = (_change(distance, moved, beta) + _FEW * u * distance**beta) * entropy
    return np.nan_to_num(error, nan=0.0, posinf=0.0)


def practical_gradient_error(case: Case, u: float) -> Array:
    """The same in both terms."""
    distance, moved = _distance_and_error(case, u)
    beta, entropy = option(case, "beta"), _cross_entropy(case)
    values = np.abs(np.stack([case.arguments["left"], case.arguments["right"]], axis=-1))
    with np.errstate(all="ignore"):
        slope = _change(distance, moved, beta - 1.0) + _FEW * u * distance ** (beta - 1.0)
        log_slope = np.where(_weights(case) == 0.0, 0.0, _weights(case) / case.arguments["probabilities"])
        error = values * (beta * slope * entropy)[..., None]
        error = error + (_change(distance, moved, beta) + _FEW * u * distance**beta)[..., None] * log_slope
    return _upstream(case, np.nan_to_num(error, nan=0.0, posinf=0.0))


def summands(case: Case) -> tuple[int, Array]:
    """The two products and the target that cancel in the distance, times how the loss moves with it."""
    distance, size = _distance_and_error(case, 1.0 / _FEW)
    beta = option(case, "beta")
    with np.errstate(all="ignore"):
        moves = beta * distance ** (beta - 1.0) * _cross_entropy(case) * size
    return 3, np.nan_to_num(moves, nan=0.0, posinf=0.0)


def gradient_summands(argument: str, case: Case) -> tuple[int, Array]:
    """What comes through the factor and what through the logarithm, and how both move with the distance."""
    distance, size = _distance_and_error(case, 1.0 / _FEW)
    beta, entropy = option(case, "beta"), _cross_entropy(case)
    values = np.abs(np.stack([case.arguments["left"], case.arguments["right"]], axis=-1))
    with np.errstate(all="ignore"):
        slope, curvature = beta * distance ** (beta - 1.0), abs(beta * (beta - 1.0)) * distance ** (beta - 2.0)
        log_slope = np.where(_weights(case) == 0.0, 0.0, _weights(case) / case.arguments["probabilities"])
        by_factor = values * ((slope + curvature * size) * entropy)[..., None]
        by_log = (distance**beta + slope * size)[..., None] * log_slope
    return 4, _upstream(case, np.nan_to_num(by_factor + by_log, nan=0.0, posinf=0.0))


def _upstream(case: Case, by_probability: Array) -> Array:
    return by_probability if case.cotangent is None else by_probability * np.abs(case.cotangent)[..., None]


def gradient_interval(argument: str, case: Case) -> tuple[Array, Array]:
    """At beta 1 every slope between those on both sides of an estimate that is right; else the gradient."""
    exact = GENERALIZED_FOCAL_LOSS.evaluate_gradient(argument, case)
    kink = _is_right(case) & (case.options["beta"] == 1.0)
    values = np.abs(np.stack([case.arguments["left"], case.arguments["right"]], axis=-1))
    entropy = _cross_entropy(case)
    reach = _upstream(case, values * np.where(kink & np.isfinite(entropy), entropy, 0.0)[..., None])
    return exact - reach, exact + reach


# --- laws -----------------------------------------------------------------------------------------------------


def cross_entropy(case: Case) -> Array:
    """Without a focal factor."""
    return _cross_entropy(case)


def is_quality_focal_loss(bench: Bench, case: Case) -> None:
    """Between 0 and 1, with probabilities that sum to 1, it is the quality focal loss in probabilities."""
    y_l, y_r, y = (case.arguments[name] for name in ("left", "right", "targets"))
    q = (y - y_l) / (y_r - y_l)
    p = case.arguments["probabilities"][..., 1]
    unit = case.with_arguments(
        probabilities=np.stack([1.0 - p, p], axis=-1), targets=q, left=np.zeros(q.shape), right=np.ones(q.shape)
    )
    answer = bench.evaluate(unit)
    expected = np.abs(q - p) ** option(case, "beta") * (-(1.0 - q) * np.log1p(-p) - q * np.log(p))
    dtype = float_format(answer.dtypes[0], unit)
    bench.expect_close(unit, answer.outputs[0], expected, bench.bounds(unit, dtype), dtype, "value between 0 and 1")


def doubled(case: Case) -> Case:
    """All values twice as large."""
    return case.with_arguments(**{name: 2.0 * case.arguments[name] for name in ("targets", "left", "right")})


def doubling_scales(bench: Bench, case: Case) -> None:
    """Values scaled by 2 scale the loss by 2^(beta + 1)."""
    scale = 2.0 ** (option(case, "beta") + 1.0)
    same_as(doubled, "value of doubled values, scaled back", lambda output, _: np.asarray(output / scale))(bench, case)


def reflected(case: Case) -> Case:
    """The axis turned around."""
    y_l, y_r, y = (case.arguments[name] for name in ("left", "right", "targets"))
    p = case.arguments["probabilities"][..., ::-1].copy()
    return case.with_arguments(probabilities=p, targets=-y, left=-y_r, right=-y_l)


def not_negative(bench: Bench, case: Case) -> None:
    """No loss is below 0."""
    loss = np.asarray(bench.evaluate(case).outputs[0], dtype=np.float64)
    plain(bench, case, np.minimum(loss, 0.0), np.zeros(loss.shape), "part below 0")


_REACHES = {
    "an estimate above the target": lambda c: bool((_estimate(c) > c.arguments["targets"]).any()),
    "an estimate below the target": lambda c: bool((_estimate(c) < c.arguments["targets"]).any()),
    "probabilities that sum to less than 1": lambda c: bool((c.arguments["probabilities"].sum(axis=-1) < 0.95).any()),
    "an interval that is not of width 1": lambda c: bool((c.arguments["right"] - c.arguments["left"] != 1).any()),
}
_IMPLIED = "implied by GFL-1; kept because a failure then names the law that is broken"

GENERALIZED_FOCAL_LOSS = Technique(
    id="generalized_focal_loss",
    title="Generalized focal loss",
    family="soft_sampling",
    summary="Cross entropy of two neighbouring values, times the distance of their estimate from the target.",
    sources=(GFL_PAPER + ", equation 7",),
    oracle=oracle.generalized_focal_loss,
    gradients={"probabilities": oracle.generalized_focal_loss_grad},
    gradient_interval=gradient_interval,
    arguments=(
        Argument("probabilities", ("...", "2"), "float", "of the left and the right value", differentiable=True,
                 domain=probabilities_domain),
        Argument("targets", ("...",), "float", "between left and right", domain=targets_domain),
        Argument("left", ("...",), "float", "the left value", domain=_left_domain),
        Argument("right", ("...",), "float", "the right value, above the left one", domain=_right_domain),
    ),
    options=(Option("beta", 2.0, "focusing exponent, >= 0; 0 has no focal factor"),),
    outputs=(Output("loss", ("...",), "float", "element losses, not reduced"),),
    practical_error=practical_error,
    practical_gradient_error=practical_gradient_error,
    summands=summands,
    gradient_summands=gradient_summands,
    requirements=(
        Requirement("GFL-1", Level.MUST, Kind.VALUE,
                    "Each element is -|y - y^|^beta ((y_r - y) log p_l + (y - y_l) log p_r).", "equation 7", value,
                    ordinary, scenes=(photograph,), reaches=_REACHES, dtypes=FULL),
        Requirement("GFL-2", Level.MUST, Kind.GRADIENT,
                    "The gradient takes each probability as free, and the focal factor along, at beta >= 1.",
                    "derivative of equation 7", gradient("probabilities"), smooth, scenes=(photograph,),
                    needs_gradient=True, dtypes=FULL),
        Requirement("GFL-3", Level.MUST, Kind.REDUCES_TO, "With beta 0 it is the cross entropy of the two.",
                    "equation 7", reduces_to(cross_entropy, beta=0.0), ordinary, options=("beta",), dtypes=FULL),
        Requirement("GFL-4", Level.MUST, Kind.REDUCES_TO, "Between 0 and 1 it is the quality focal loss.",
                    "equations 2 and 7", is_quality_focal_loss, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("GFL-5", Level.MUST, Kind.TIES,
                    "Where the estimate is the target the gradient is 0, at beta >= 1 (at 1: between the slopes).",
                    "ruling right-estimate", gradient("probabilities"), right_estimate, needs_gradient=True,
                    dtypes=FULL, examples=0.5,
                    no_mutant="a gradient that is lost at beta >= 1 is lost below 1 too, where GFL-6 sees it"),
        Requirement("GFL-6", Level.SHOULD, Kind.TIES,
                    "Where the estimate is the target the gradient is 0, at beta in (0, 1).",
                    "ruling right-estimate", gradient("probabilities"), right_estimate_small_beta,
                    needs_gradient=True, options=("beta",), dtypes=FULL, examples=0.5),
        Requirement("GFL-7", Level.MUST, Kind.TIES,
                    "0 log 0 is 0: a probability of 0 without weight, or without distance, costs nothing.",
                    "ruling zero-probability", value, certain_and_right, dtypes=FULL, examples=0.5),
        Requirement("GFL-8", Level.MUST, Kind.TIES, "It has gradient 0 through the logarithm.",
                    "ruling zero-probability", gradient("probabilities"), certain_and_right, needs_gradient=True,
                    dtypes=FULL, examples=0.5),
        Requirement("GFL-9", Level.SHOULD, Kind.LIMIT, "A probability of 0 that has a weight costs infinitely much.",
                    "ruling zero-probability", value, certain_and_wrong, dtypes=FULL, examples=0.3),
        Requirement("GFL-10", Level.MUST, Kind.EXTREME, "The value follows the formula for tiny probabilities.",
                    "no epsilon, no clamp", value, unlikely, dtypes=FULL),
        Requirement("GFL-11", Level.MUST, Kind.EXTREME, "The gradient follows its formula for tiny probabilities.",
                    "no epsilon, no clamp", gradient("probabilities"), unlikely, needs_gradient=True, dtypes=FULL),
        Requirement("GFL-12", Level.SHOULD, Kind.EXTREME,
                    "Half-precision probabilities give the value computed in float32.", "house rule", value, ordinary,
                    dtypes=HALF),
        Requirement("GFL-13", Level.SHOULD, Kind.EXTREME,
                    "Half-precision probabilities give the gradient computed in float32, at beta >= 1.",
                    "house rule", gradient("probabilities"), smooth, needs_gradient=True, dtypes=HALF),
        Requirement("GFL-14", Level.MUST, Kind.INVARIANCE, "Values scaled by 2 scale the loss by 2^(beta + 1).",
                    "equation 7", doubling_scales, ordinary, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("GFL-15", Level.MUST, Kind.INVARIANCE, "Turning the axis around changes nothing.", "equation 7",
                    same_as(reflected, "value with the axis turned around"), ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("GFL-16", Level.MUST, Kind.BOUND, "The loss is not below 0.", "equation 7", not_negative, ordinary,
                    dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("GFL-17", Level.MUST, Kind.BATCH, "A batch gives what its rows give one by one.", "equation 8",
                    batch_equals_per_image, ordinary, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("GFL-18", Level.MUST, Kind.INVARIANCE, "Reordering the elements reorders the losses.",
                    "equation 8", permutation, ordinary, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("GFL-19", Level.MUST, Kind.EMPTY, "No elements give no losses, in the same shape.",
                    "ruling: an image without positives is legal", value, empty, dtypes=FULL, examples=0.2),
        Requirement("GFL-20", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity, ordinary,
                    dtypes=FULL, examples=0.3),
        Requirement("GFL-21", Level.SHOULD, Kind.ERROR, "Targets of another shape are refused.", "house rule",
                    refuses(bad_shape("targets"), without_axes("probabilities")), ordinary, dtypes=FULL, examples=0.2),
        Requirement("GFL-22", Level.MAY, Kind.ERROR, "A negative beta is refused.", "house rule",
                    refuses(bad_option("beta", -1.0)), ordinary, dtypes=FULL, examples=0.2),
        Requirement("GFL-23", Level.MUST, Kind.GRADIENT,
                    "At beta 0 the gradient is that of the logarithms, wherever the estimate is.",
                    "derivative of equation 7", gradient("probabilities"), without_focus, needs_gradient=True,
                    options=("beta",), dtypes=FULL, examples=0.5),
        Requirement("GFL-24", Level.SHOULD, Kind.LIMIT,
                    "A probability of 0 that has a weight has an infinite gradient.", "ruling zero-probability",
                    gradient("probabilities"), certain_and_wrong, needs_gradient=True, dtypes=FULL, examples=0.3),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("distance-of-values", "The focal factor is the distance of values, not of probabilities."),
        Ruling("free-probabilities", "The probabilities need not sum to 1: two bins of a softmax hold less."),
        Ruling("right-estimate", "Where the estimate is the target the gradient is 0. At beta 1 any slope between "
               "those of the two sides is admissible."),
        Ruling("zero-probability", "0 log 0 is 0. A probability of 0 that has a weight costs infinitely much."),
    ),
    not_applicable={
        Kind.DETACHED: "nothing is detached; GFL-2 catches an implementation that detaches the factor",
        Kind.CONSERVATION: "element losses conserve nothing",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
