"""Contracts of PISA's classification-aware regression loss (CARL) and of its shares.

Cao, Chen, Loy, Lin, "Prime Sample Attention in Object Detection", CVPR 2020 (arXiv 1904.04821).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    gradient,
    padding,
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
    Mutant,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import PRECISIONS, round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.reference.logistic import sigmoid
from steelyard.reference.soft_sampling import carl_loss as oracle

_PAPER = 'Cao et al., "Prime Sample Attention in Object Detection", CVPR 2020, arXiv 1904.04821'

# --- inputs ---------------------------------------------------------------------------------------------------


def _options(draw: Draw) -> dict[str, OptionValue]:
    return {
        "activation": draw.choice(oracle.ACTIVATIONS),
        "k": draw.choice((1.0, 2.0, 0.5)),
        "b": draw.choice((0.2, 0.5, 0.1)),
    }


def _shares(draw: Draw, shape: tuple[int, ...], *, reach: float = 8.0, softmax_of_float64: bool = False) -> Case:
    dtype, options, classes = draw.dtype(), _options(draw), draw.integer(1, 3)
    if softmax_of_float64:
        dtype, options["activation"] = draw.dtype(("float64",)), "softmax"
    channels = classes + (options["activation"] == "softmax")
    logits = draw.logits((*shape, channels), dtype, reach=reach)
    labels = draw.array(shape, lambda: float(draw.choice((0, 0, classes - 1, draw.integer(0, classes), -1))))
    return Case({"logits": logits, "labels": labels.astype(np.int64)}, options, dtype)


def shares(draw: Draw) -> Case:
    """Up to two images of six samples, most of them positive."""
    return _shares(draw, draw.shape(draw.integer(1, 2), high=6))


def shares_of_nothing(draw: Draw) -> Case:
    """No sample, or none of the foreground."""
    case = shares(draw)
    if draw.flag():
        return case.with_arguments(labels=np.full(case.arguments["labels"].shape, -1))
    return case.with_arguments(**{name: values[:0] for name, values in case.arguments.items()})


def shares_of_large_logits(draw: Draw) -> Case:
    """Logits up to 100: scores of 1 and of next to nothing."""
    return _shares(draw, (draw.integer(1, 6),), reach=100.0)


def shares_without_floor(draw: Draw) -> Case:
    """With b = 0 the scores of all samples may be below the smallest float; or logits are as far apart as can be."""
    distance = draw.choice(("1000", "the farthest", "far apart"))
    if distance == "1000":
        return shares_of_tiny_scores(draw)
    case = _shares(draw, (draw.integer(1, 6),), softmax_of_float64=distance == "the farthest")
    end, shape = PRECISIONS[case.dtype].largest, case.arguments["logits"].shape
    if distance == "far apart":
        logits = draw.array(shape, lambda: draw.choice((0.0, -end, end, end / 4.0)))
    else:
        logits = np.where(case.arguments["labels"][:, None] == np.arange(shape[-1]), -end, end)
    return case.with_arguments(logits=logits).with_options(b=0.0)


def shares_of_tiny_scores(draw: Draw) -> Case:
    """With b = 0 the scores of all samples may be below the smallest float."""
    case = _shares(draw, (draw.integer(1, 6),))
    logits = case.arguments["logits"] - draw.choice((0.0, 1000.0))
    if case.options["activation"] == "softmax":
        logits = np.where(np.arange(logits.shape[-1]) == logits.shape[-1] - 1, 0.0, logits)
    return case.with_arguments(logits=round_to(case.dtype, logits)).with_options(b=0.0)


def _with_losses(draw: Draw, case: Case, *, largest: float = 2.0) -> Case:
    shape = case.arguments["labels"].shape
    losses = round_to(case.dtype, draw.array(shape, lambda: largest * draw.fraction()))
    options = {**case.options, "avg_factor": draw.choice((None, 4.0, 0.5, 512.0))}
    cotangent = draw.cotangent((), case.dtype)
    return Case({**case.arguments, "regression_losses": losses}, options, case.dtype, cotangent)


def ordinary(draw: Draw) -> Case:
    """The same with regression losses up to 2."""
    return _with_losses(draw, shares(draw))


def coordinates(draw: Draw) -> Case:
    """Four losses a sample."""
    case = ordinary(draw)
    shape = (*case.arguments["labels"].shape, 4)
    losses = round_to(case.dtype, draw.array(shape, lambda: 2.0 * draw.fraction()))
    return Case({**case.arguments, "regression_losses": losses}, case.options, case.dtype, case.cotangent)


def nothing(draw: Draw) -> Case:
    """No sample, or none of the foreground."""
    return _with_losses(draw, shares_of_nothing(draw))


def large_logits(draw: Draw) -> Case:
    """Logits up to 100."""
    return _with_losses(draw, shares_of_large_logits(draw))


def losses_without_floor(draw: Draw) -> Case:
    """With b = 0 and scores that may all be below the smallest float, logits as far apart as can be among them."""
    return _with_losses(draw, shares_without_floor(draw))


def losses_of_tiny_scores(draw: Draw) -> Case:
    """With b = 0 and scores that may all be below the smallest float."""
    return _with_losses(draw, shares_of_tiny_scores(draw))


def broken_elsewhere(draw: Draw) -> Case:
    """Losses of samples that are not positive are whatever they are, NaN even."""
    case = ordinary(draw)
    losses = np.where(_positives(case), case.arguments["regression_losses"], np.nan)
    return Case({**case.arguments, "regression_losses": losses}, case.options, case.dtype, case.cotangent)


def equal_scores(draw: Draw) -> Case:
    """Every logit 0: all positives have the same score."""
    case = ordinary(draw)
    return case.with_arguments(logits=np.zeros(case.arguments["logits"].shape))


def without_exponent(draw: Draw) -> Case:
    """With k = 0 every share is 1."""
    return shares(draw).with_options(k=0.0)


def shares_scene(seed: int) -> Case:
    """Two images of 2,600 samples, a quarter of them positive."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random((2, 2600)) < 0.25, random.integers(0, 8, (2, 2600)), 8)
    labels[:, -4:] = 0
    logits = round_to("float32", random.normal(0.0, 2.0, (*labels.shape, 9)))
    return Case({"logits": logits, "labels": labels}, {"activation": "softmax", "k": 1.0, "b": 0.2}, "float32",
                origin=f"scene {seed}")  # fmt: skip


def scene(seed: int) -> Case:
    """The same with regression losses."""
    case = shares_scene(seed)
    random = np.random.default_rng(seed + 1)
    losses = round_to("float32", random.exponential(0.5, case.arguments["labels"].shape))
    options = {**case.options, "avg_factor": None}
    return Case({**case.arguments, "regression_losses": losses}, options, "float32", origin=f"scene {seed}")


def _positives(case: Case) -> Array:
    labels = case.arguments["labels"]
    background = case.arguments["logits"].shape[-1] - (case.options["activation"] == "softmax")
    return np.asarray((labels >= 0) & (labels < background))


def _no_score(case: Case) -> bool:
    """Positives whose logits are further below another than float64 holds."""
    of, logits = _positives(case), case.arguments["logits"] / 4.0
    own = np.take_along_axis(logits, np.where(of, case.arguments["labels"], 0)[..., None], -1)
    below = (logits.max(axis=-1, keepdims=True) - own)[..., 0] > np.finfo(np.float64).max / 4.0
    return bool(case.options["activation"] == "softmax" and of.any() and below[of].all())


def _several(case: Case) -> bool:
    return int(_positives(case).sum()) > 1


# --- practical errors -----------------------------------------------------------------------------------------


def _c(case: Case) -> Array:
    options = {name: case.options[name] for name in ("activation", "k", "b")}
    return oracle.classification_aware_regression_weights(
        case.arguments["logits"], case.arguments["labels"], **options  # type: ignore[arg-type]
    )  # fmt: skip


def _score_error(case: Case, u: float) -> float:
    """Relative error of v: that of a softmax of rounded differences, to the power of k."""
    size = float(np.abs(case.arguments["logits"]).max(initial=0.0))
    return 4.0 * u * (2.0 + size) * (1.0 + option(case, "k"))


def share_summands(case: Case) -> tuple[int, Array]:
    """The shares are quotients by a sum of positive terms, which is off relatively by its summation."""
    return max(case.arguments["labels"].size, 1), _c(case)


def practical_share_error(case: Case, u: float) -> Array:
    """The error of a v and that of their mean."""
    return 2.0 * _score_error(case, u) * _c(case)


def _losses(case: Case) -> Array:
    losses, labels = case.arguments["regression_losses"], case.arguments["labels"]
    of_samples = losses if losses.ndim == labels.ndim else losses.sum(axis=-1)
    return np.where(_positives(case), np.abs(of_samples), 0.0)


def _average(case: Case) -> float:
    labels, given = case.arguments["labels"], case.options["avg_factor"]
    return max(1.0, float((labels != -1).sum())) if given is None else float(given)


def summands(case: Case) -> tuple[int, Array]:
    """Number of the terms c l / A, and their sum."""
    return max(case.arguments["labels"].size, 1), np.asarray((_c(case) * _losses(case)).sum() / _average(case))


def practical_error(case: Case, u: float) -> Array:
    """Each share is off by its practical error."""
    return np.asarray((practical_share_error(case, u) * _losses(case)).sum() / _average(case))


def _pull(argument: str, case: Case) -> Array:
    """Size of what is summed for the gradient: the loss's own part and the mean's, which cancel."""
    upstream = 1.0 if case.cotangent is None else abs(float(case.cotangent))
    c = _c(case) * upstream / _average(case)
    if argument == "regression_losses":
        shape = case.arguments["regression_losses"].shape
        return np.asarray(np.broadcast_to(c.reshape(c.shape + (1,) * (len(shape) - c.ndim)), shape))
    losses = _losses(case)
    mean = (_c(case) * losses).sum() / max(int(_positives(case).sum()), 1)
    slope = option(case, "k") * c * (losses + mean)
    return np.asarray(np.broadcast_to(slope[..., None], case.arguments["logits"].shape))


def gradient_summands(argument: str, case: Case) -> tuple[int, Array]:
    """Number of positives that the mean runs over, and the size of what cancels."""
    return max(case.arguments["labels"].size, 1), _pull(argument, case)


# --- laws -----------------------------------------------------------------------------------------------------


def shares_sum_to_their_number(bench: Bench, case: Case) -> None:
    """The shares of n positives sum to n; no two differ by more than a factor b^-k."""
    c = np.asarray(bench.evaluate(case).outputs[0], dtype=np.float64)
    of = _positives(case)
    plain(bench, case, np.asarray(c.sum()), np.asarray(float(of.sum())), "sum of the shares")
    if of.any():
        factor = option(case, "b") ** -option(case, "k") * (1.0 + 1e-5)
        bench.expect(bool(c[of].max() <= factor * c[of].min()), "two shares further apart than b^-k", case)


def ones_for_positives(case: Case) -> Array:
    """What k = 0 leaves."""
    return _positives(case).astype(np.float64)


def plain_regression_loss(case: Case) -> Array:
    """What equal scores leave: the regression losses of positives over A."""
    return np.asarray(_losses(case).sum() / _average(case))


def reordered(case: Case) -> Case:
    """The samples in reverse."""
    return case.with_arguments(**{name: values[::-1].copy() for name, values in case.arguments.items()})


def no_gradient_in_sum(bench: Bench, case: Case) -> None:
    """Shares sum to n whatever the scores: where all losses are equal nothing pulls at a score."""
    equal = case.with_arguments(regression_losses=np.ones(case.arguments["labels"].shape))
    answer = bench.evaluate(equal, ("logits",))
    found = answer.gradients["logits"]
    dtype = answer.gradient_dtypes["logits"]
    bounds = bench.gradient_bounds(equal, "logits", np.zeros(found.shape), dtype, answer.dtypes[0])
    bench.expect_close(equal, found, np.zeros(found.shape), bounds, dtype, "gradient at equal losses")


def _padding_of_all(bench: Bench, case: Case) -> None:
    fill = {"labels": -1.0, "logits": 3.0}
    if "regression_losses" in case.arguments:
        fill["regression_losses"] = 9.0
    padding(0, **fill)(bench, case)


# --- mutants --------------------------------------------------------------------------------------------------

Function = Callable[..., Any]
_SHARES = oracle.classification_aware_regression_weights
_LOSS = oracle.classification_aware_regression_loss
_GRAD = oracle.classification_aware_regression_loss_grad_logits


def _probabilities(logits: Array, activation: str) -> Array:
    z = np.asarray(logits)
    if activation == "sigmoid":
        return sigmoid(z.astype(np.float64))
    with np.errstate(over="ignore"):  # a difference may pass the range of the format: its exponential is 0
        shares = np.exp(z - z.max(axis=-1, keepdims=True, initial=-np.inf))
    return np.asarray(shares / shares.sum(axis=-1, keepdims=True))


def _true(probabilities: Array, labels: Array) -> Array:
    index = np.clip(labels, 0, probabilities.shape[-1] - 1)
    return np.asarray(np.take_along_axis(probabilities, index[..., None], -1)[..., 0])


def _wrong_shares(v_of: Callable[[Array, Array, float, float], Array], normalise: str = "mean") -> Function:
    """Shares of another v, or another normaliser."""

    def function(*, logits: Array, labels: Array, activation: str, k: float, b: float) -> Array:
        right = _SHARES(logits, labels, activation=activation, k=k, b=b)
        probabilities = _probabilities(logits, activation).astype(np.float64)
        of = (labels >= 0) & (labels < probabilities.shape[-1] - (activation == "softmax"))
        v = np.where(of, v_of(probabilities, labels, k, b), 0.0)
        if not of.any():
            return right
        axis = -1 if normalise == "row" else None
        number = of.sum(axis=axis, keepdims=normalise == "row")
        total = v.sum(axis=axis, keepdims=normalise == "row")
        if normalise == "all":
            number = np.asarray(labels.size)
        if normalise == "none":
            return v
        return np.asarray(v * number / np.where(total == 0, 1.0 if normalise == "row" else 0.0, total))

    return function


def _v(p: Array, k: float, b: float) -> Array:
    return np.asarray(((1 - b) * p + b) ** k)


_SHARE_KINDS: tuple[tuple[str, str, Function], ...] = (
    ("highest-score", "the highest score of a sample for that of its true class",
     _wrong_shares(lambda p, _, k, b: _v(p.max(axis=-1, initial=0.0), k, b))),
    ("power-inside", "b added after the power",
     _wrong_shares(lambda p, y, k, b: (1 - b) * _true(p, y) ** k + b)),
    ("not-normalised", "no normaliser", _wrong_shares(lambda p, y, k, b: _v(_true(p, y), k, b), "none")),
    ("each-image", "shares of each image by itself", _wrong_shares(lambda p, y, k, b: _v(_true(p, y), k, b), "row")),
    ("number-of-samples", "the number of samples for that of positives",
     _wrong_shares(lambda p, y, k, b: _v(_true(p, y), k, b), "all")),
    ("no-b", "b = 0", _wrong_shares(lambda p, y, k, _: _true(p, y) ** k)),
)  # fmt: skip


def _probabilities_first(*, logits: Array, labels: Array, activation: str, k: float, b: float) -> Array:
    """With b = 0, 0 / 0 where every score is below the smallest float."""
    right = _SHARES(logits, labels, activation=activation, k=k, b=b)
    z = np.asarray(logits)
    p = _true(_probabilities(z, activation).astype(z.dtype), labels)
    v = np.where(right > 0, _v(p.astype(z.dtype), k, b), 0.0)
    return right if v.sum() > 0 or not (right > 0).any() else right * np.nan


def _naive_softmax(*, logits: Array, labels: Array, activation: str, k: float, b: float) -> Array:
    """Exponentials of the logits as they are."""
    right = _SHARES(logits, labels, activation=activation, k=k, b=b)
    with np.errstate(over="ignore"):
        exponentials = np.exp(np.asarray(logits).astype(np.float32))
    overflow = np.isinf(exponentials).any(axis=-1) & (right > 0)
    return np.where(overflow & (activation == "softmax"), np.nan, right)


def _half_sums(*, logits: Array, labels: Array, activation: str, k: float, b: float) -> Array:
    """Softmax in float16 without the maximum subtracted."""
    right = _SHARES(logits, labels, activation=activation, k=k, b=b)
    if np.asarray(logits).dtype != np.float16:
        return right
    lost = (np.asarray(logits) > 7.0).any(axis=-1) & (right > 0)
    return np.where(lost, np.nan, right)


def _ignored_first_class(function: Function) -> Function:
    def mutant(*, labels: Array, **keywords: Any) -> Array:  # noqa: ANN401
        return np.asarray(function(labels=np.where(labels == -1, 0, labels), **keywords))

    return mutant


SHARE_MUTANTS = (
    *(Mutant(f"carl-weights/{name}", summary, function) for name, summary, function in _SHARE_KINDS),
    Mutant("carl-weights/probabilities-first", "0 / 0 where every score is below the smallest float",
           _probabilities_first, seen_in="mmdet 3.3.0"),
    Mutant("carl-weights/naive-softmax", "exponentials that overflow float32", _naive_softmax),
    Mutant("carl-weights/half-softmax", "exponentials that overflow float16", _half_sums),
    Mutant("carl-weights/ignored-first-class", "ignored samples taken for positives of class 0",
           _ignored_first_class(_SHARES)),
    Mutant("carl-weights/zero-k-is-default", "k = 0 taken as not given",
           mistakes.with_default_for_zero(_SHARES, "k", 1.0)),
    Mutant("carl-weights/in-place", "its logits overwritten", mistakes.overwriting(_SHARES, "logits")),
    Mutant("carl-weights/broadcast", "logits repeated for labels of another length",
           mistakes.broadcasting(_SHARES, "logits", "labels")),
    Mutant("carl-weights/unchecked", "no check of its options", mistakes.unchecked(
        _SHARES, k=mistakes.at_least_0, b=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("carl-weights/raises-on-empty", "an error without samples", mistakes.failing_on_empty(_SHARES, "logits")),
    Mutant("carl-weights/lost-tail", "shares beyond the last whole chunk lost", mistakes.losing_the_tail(_SHARES)),
)  # fmt: skip


def _loss_of(shares_of: Function) -> Function:
    """The loss with other shares."""

    def function(*, regression_losses: Array, labels: Array, avg_factor: float | None, **keywords: Any) -> Array:  # noqa: ANN401
        _LOSS(labels=labels, regression_losses=regression_losses, avg_factor=avg_factor, **keywords)
        c = shares_of(labels=labels, **keywords)
        losses = np.asarray(regression_losses, dtype=np.float64)
        losses = losses if losses.ndim == labels.ndim else losses.sum(axis=-1)
        total = np.where(c != 0, c * np.where(c != 0, losses, 0.0), 0.0).sum()
        return np.asarray(total / (max(1, (labels != -1).sum()) if avg_factor is None else avg_factor))

    return function


def _number_of_positives(*, labels: Array, logits: Array, activation: str, avg_factor: float | None,
                         **keywords: Any) -> Array:  # noqa: ANN401  # fmt: skip
    background = np.shape(logits)[-1] - (activation == "softmax")
    number = max(1.0, float(((labels >= 0) & (labels < background)).sum()))
    return np.asarray(_LOSS(labels=labels, logits=logits, activation=activation,
                            avg_factor=number if avg_factor is None else avg_factor, **keywords))  # fmt: skip


def _ignored_in_average(*, labels: Array, avg_factor: float | None, **keywords: Any) -> Array:  # noqa: ANN401
    number = max(1.0, float(labels.size))
    return np.asarray(_LOSS(labels=labels, avg_factor=number if avg_factor is None else avg_factor, **keywords))


def _mean_of_coordinates(*, labels: Array, regression_losses: Array, **keywords: Any) -> Array:  # noqa: ANN401
    losses = np.asarray(regression_losses)
    losses = losses if losses.ndim == labels.ndim else losses.astype(np.float64).mean(axis=-1)
    return np.asarray(_LOSS(labels=labels, regression_losses=losses, **keywords))


def _times_zero(*, labels: Array, regression_losses: Array, **keywords: Any) -> Array:  # noqa: ANN401
    """NaN of a sample that is not positive, times its share of 0."""
    loss = np.asarray(_LOSS(labels=labels, regression_losses=regression_losses, **keywords))
    return loss * (np.nan if np.isnan(regression_losses).any() else 1.0)


def _lost_tail(*, labels: Array, regression_losses: Array, **keywords: Any) -> Array:  # noqa: ANN401
    """Losses beyond the last whole chunk of 4,096, if there is one, left out."""
    kept = np.array(regression_losses, dtype=np.float64)
    whole = labels.size // 4096 * 4096
    kept.reshape((labels.size, *kept.shape[labels.ndim :]))[whole or labels.size :] = 0.0
    return np.asarray(_LOSS(labels=labels, regression_losses=kept, **keywords))


def _detached_scores(**keywords: Any) -> Array:  # noqa: ANN401
    return np.asarray(_GRAD(**keywords) * 0.0)


def _detached_normaliser(*, logits: Array, labels: Array, regression_losses: Array, activation: str, k: float,
                         b: float, avg_factor: float | None) -> Array:  # fmt: skip
    """The gradient through v alone: the losses instead of their distances from the weighted mean."""
    losses = np.asarray(regression_losses, dtype=np.float64)
    losses = losses if losses.ndim == labels.ndim else losses.sum(axis=-1)
    options: dict[str, Any] = {"activation": activation, "k": k, "b": b}
    c = _SHARES(logits, labels, **options)
    p = _true(_probabilities(np.asarray(logits, dtype=np.float64), activation), labels)
    slope = k * (1 - b) * p / ((1 - b) * p + b)
    one_hot = np.maximum(labels, 0)[..., None] == np.arange(np.shape(logits)[-1])
    probabilities = _probabilities(np.asarray(logits, dtype=np.float64), activation)
    by_z = one_hot - probabilities if activation == "softmax" else one_hot * (1.0 - probabilities)
    average = max(1, (labels != -1).sum()) if avg_factor is None else avg_factor
    return np.asarray((c * np.where(c > 0, losses, 0.0) * slope / average)[..., None] * by_z)


def _slope_of_probabilities(*, logits: Array, labels: Array, activation: str, b: float, **keywords: Any) -> Array:  # noqa: ANN401
    """With b = 0, p / p of a score that is 0 in its format."""
    right = _GRAD(logits=logits, labels=labels, activation=activation, b=b, **keywords)
    p = _true(_probabilities(logits, activation).astype(np.asarray(logits).dtype), labels)
    of = (labels >= 0) & (labels < np.shape(logits)[-1] - (activation == "softmax"))
    return np.where(((p == 0) & of & (b == 0))[..., None], np.nan, right)


def _wrong_sign(**keywords: Any) -> Array:  # noqa: ANN401
    return np.asarray(-_GRAD(**keywords))


LOSS_MUTANTS = (
    *(Mutant(f"carl/{name}", summary, _loss_of(function)) for name, summary, function in _SHARE_KINDS),
    Mutant("carl/detached-scores", "the scores detached: nothing is learnt from the regression", _LOSS,
           _detached_scores),
    Mutant("carl/detached-normaliser", "the normaliser of the shares detached", _LOSS, _detached_normaliser),
    Mutant("carl/slope-of-probabilities", "a gradient of 0 / 0 where b = 0 and a score is below the smallest float",
           _LOSS, _slope_of_probabilities),
    Mutant("carl/wrong-sign", "scores pushed up where the box is bad", _LOSS, _wrong_sign),
    Mutant("carl/number-of-positives", "divided by the positives where no number is given", _number_of_positives),
    Mutant("carl/ignored-in-average", "ignored samples counted where no number is given", _ignored_in_average),
    Mutant("carl/mean-of-coordinates", "the mean of the coordinates' losses", _mean_of_coordinates),
    Mutant("carl/times-zero", "NaN from a sample that is not positive", _times_zero),
    Mutant("carl/probabilities-first", "0 / 0 where every score is below the smallest float",
           _loss_of(_probabilities_first), seen_in="mmdet 3.3.0"),
    Mutant("carl/naive-softmax", "exponentials that overflow float32", _loss_of(_naive_softmax)),
    Mutant("carl/half-softmax", "exponentials that overflow float16", _loss_of(_half_sums)),
    Mutant("carl/in-place", "its logits overwritten", mistakes.overwriting(_LOSS, "logits")),
    Mutant("carl/broadcast", "logits repeated for labels of another length",
           mistakes.broadcasting(_LOSS, "logits", "labels")),
    Mutant("carl/unchecked", "no check of its options", mistakes.unchecked(
        _LOSS, k=mistakes.at_least_0, b=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("carl/lost-tail", "losses beyond the last whole chunk left out", _lost_tail),
    Mutant("carl/raises-on-empty", "an error without samples", mistakes.failing_on_empty(_LOSS, "logits")),
)  # fmt: skip


# --- contracts ------------------------------------------------------------------------------------------------

_IMPLIED = "implied by the values; kept because a failure then names the law that is broken"
_LOGITS = Argument("logits", ("...", "C"), "float", "one channel a class; softmax: the background last",
                   differentiable=True)  # fmt: skip
_LABELS = Argument("labels", ("...",), "int", "0..C-1 foreground, C background, -1 ignore")
_OPTIONS = (
    Option("activation", "softmax", "what makes scores of logits: softmax or sigmoid"),
    Option("k", 1.0, "exponent"),
    Option("b", 0.2, "share of score 0 in proportion to that of score 1"),
)

CLASSIFICATION_AWARE_REGRESSION_WEIGHTS = Technique(
    id="classification_aware_regression_weights",
    title="Shares of the classification-aware regression loss (CARL, PISA)",
    family="soft_sampling",
    summary="Weights of the regression losses that grow with the score of the true class and have mean 1.",
    sources=(_PAPER,),
    oracle=_SHARES,
    arguments=(Argument("logits", ("...", "C"), "float", _LOGITS.doc), _LABELS),
    options=_OPTIONS,
    outputs=(Output("shares", ("...",), "float", "share of each positive, 0 elsewhere"),),
    requirements=(
        Requirement("CW-1", Level.MUST, Kind.VALUE, "c = v over the mean of v, v = ((1 - b) p + b)^k.",
                    "section 4, CARL", value, shares, scenes=(shares_scene,), dtypes=FULL,
                    reaches={"several positives": _several,
                             "sigmoid": lambda c: c.options["activation"] == "sigmoid"}),
        Requirement("CW-2", Level.MUST, Kind.REDUCES_TO, "At k = 0 all shares are 1.", "section 4, CARL",
                    reduces_to(ones_for_positives), without_exponent, dtypes=FULL, examples=0.3),
        Requirement("CW-3", Level.MUST, Kind.EMPTY, "Without positives all shares are 0.", "ruling empty", value,
                    shares_of_nothing, dtypes=FULL, examples=0.3),
        Requirement("CW-4", Level.MUST, Kind.CONSERVATION, "The shares of n positives sum to n.", "section 4, CARL",
                    shares_sum_to_their_number, shares, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("CW-5", Level.MUST, Kind.EXTREME, "Logits up to 100 are right.", "house rule", value,
                    shares_of_large_logits, dtypes=FULL, examples=0.5,
                    no_mutant="exponentials that overflow do so in CW-6 too; this one binds"),
        Requirement("CW-6", Level.MAY, Kind.EXTREME,
                    "With b = 0 scores below the smallest float keep their proportions.", "ruling no score", value,
                    shares_without_floor, dtypes=FULL, examples=0.5,
                    reaches={"no score above 0": _no_score}),
        Requirement("CW-7", Level.SHOULD, Kind.EXTREME, "Half precision is computed without loss of range.",
                    "house rule", value, shares, dtypes=HALF, examples=0.5),
        Requirement("CW-8", Level.MUST, Kind.INVARIANCE, "Reordering the samples reorders the shares.",
                    "section 4, CARL", same_as(reordered, "share of the reordered samples", lambda o, _: o[::-1]),
                    shares, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("CW-9", Level.MUST, Kind.BATCH, "Ignored samples at the end change nothing.", "padding",
                    _padding_of_all, shares, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("CW-10", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, shares, dtypes=FULL, examples=0.3),
        Requirement("CW-11", Level.SHOULD, Kind.ERROR, "Logits of another length than the labels' are refused.",
                    "house rule", refuses(bad_shape("logits"), without_axes("logits")), shares, dtypes=FULL,
                    examples=0.2),
        Requirement("CW-12", Level.MAY, Kind.ERROR, "A negative k and a b outside [0, 1] are refused.", "house rule",
                    refuses(bad_option("k", -1.0), bad_option("b", 1.5)), shares, dtypes=FULL, examples=0.2),
    ),
    mutants=SHARE_MUTANTS,
    practical_error=practical_share_error,
    summands=share_summands,
    rulings=(
        Ruling("empty", "Without positives there is nothing to divide: all shares are 0."),
        Ruling("no score", "With b = 0 and scores that are all 0, c = 1; in logarithms scores of next to nothing keep "
               "their proportions."),
    ),
    not_applicable={
        Kind.GRADIENT: "demanded of the loss: the sum of the shares is constant",
        Kind.DETACHED: "demanded of the loss", Kind.LIMIT: "CW-2 has the end of k",
        Kind.BOUND: "CW-4 bounds the proportion of the shares", Kind.TIES: "no threshold",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip

CLASSIFICATION_AWARE_REGRESSION_LOSS = Technique(
    id="classification_aware_regression_loss",
    title="Classification-aware regression loss (CARL, PISA)",
    family="soft_sampling",
    summary="Regression loss weighed with shares of the scores, from which the scores learn how good a box is.",
    sources=(_PAPER,),
    oracle=_LOSS,
    arguments=(_LOGITS, _LABELS,
               Argument("regression_losses", ("...",), "float", "loss of each sample, or of its coordinates on a last "
                        "axis more", differentiable=True)),
    options=(*_OPTIONS, Option("avg_factor", None, "number the sum is divided by; None: samples that are not ignored")),
    outputs=(Output("loss", (), "float", "loss of the mini-batch"),),
    requirements=(
        Requirement("CL-1", Level.MUST, Kind.VALUE, "L = sum of c l over A.", "section 4, CARL", value, ordinary,
                    scenes=(scene,), dtypes=FULL, reaches={"several positives": _several}),
        Requirement("CL-2", Level.MUST, Kind.VALUE, "The losses of four coordinates are summed.", "section 4, CARL",
                    value, coordinates, dtypes=FULL, examples=0.5),
        Requirement("CL-3", Level.MUST, Kind.GRADIENT, "The gradient flows into the logits, also through the mean.",
                    "section 4, CARL", gradient("logits"), ordinary, scenes=(scene,), dtypes=FULL,
                    needs_gradient=True, no_mutant="a wrong gradient is wrong in CL-18 too; this one binds"),
        Requirement("CL-4", Level.MUST, Kind.GRADIENT, "The gradient of a regression loss is c / A.",
                    "section 4, CARL", gradient("regression_losses"), ordinary, dtypes=FULL, needs_gradient=True,
                    examples=0.5, no_mutant="mutants have one gradient, that by the logits"),
        Requirement("CL-5", Level.MUST, Kind.DETACHED, "Where all losses are equal nothing pulls at a score.",
                    "section 4, CARL", no_gradient_in_sum, ordinary, dtypes=FULL, needs_gradient=True, examples=0.3,
                    no_mutant="implied by CL-3; names a normaliser that is detached"),
        Requirement("CL-6", Level.MUST, Kind.REDUCES_TO, "At equal scores it is the plain regression loss.",
                    "section 4, CARL", reduces_to(plain_regression_loss), equal_scores, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("CL-7", Level.MUST, Kind.EMPTY, "Without positives the loss is 0.", "ruling empty", value, nothing,
                    dtypes=FULL, examples=0.3),
        Requirement("CL-8", Level.MUST, Kind.EXTREME, "Logits up to 100 are right.", "house rule", value, large_logits,
                    dtypes=FULL, examples=0.5,
                    no_mutant="exponentials that overflow do so in CL-17 too; this one binds"),
        Requirement("CL-9", Level.MAY, Kind.EXTREME, "Losses of samples that are not positive are not looked at.",
                    "ruling elsewhere", value, broken_elsewhere, dtypes=FULL, examples=0.3),
        Requirement("CL-10", Level.SHOULD, Kind.EXTREME, "Half precision is computed without loss of range.",
                    "house rule", value, ordinary, dtypes=HALF, examples=0.5),
        Requirement("CL-11", Level.MUST, Kind.INVARIANCE, "The order of the samples means nothing.",
                    "section 4, CARL", same_as(reordered, "loss of the reordered samples"), ordinary, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("CL-12", Level.MUST, Kind.BATCH, "Ignored samples at the end change nothing.", "padding",
                    _padding_of_all, ordinary, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("CL-13", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, ordinary, dtypes=FULL, examples=0.3),
        Requirement("CL-14", Level.SHOULD, Kind.ERROR, "Logits of another length than the labels' are refused.",
                    "house rule", refuses(bad_shape("logits"), bad_shape("regression_losses")), ordinary, dtypes=FULL,
                    examples=0.2),
        Requirement("CL-15", Level.MAY, Kind.ERROR, "A negative k and a b outside [0, 1] are refused.", "house rule",
                    refuses(bad_option("k", -1.0), bad_option("b", 1.5)), ordinary, dtypes=FULL, examples=0.2),
        Requirement("CL-16", Level.MUST, Kind.GRADIENT, "The gradient of a coordinate's loss is c / A, too.",
                    "section 4, CARL", gradient("regression_losses"), coordinates, dtypes=FULL, needs_gradient=True,
                    examples=0.3, no_mutant="mutants have one gradient, that by the logits"),
        Requirement("CL-17", Level.MAY, Kind.EXTREME,
                    "With b = 0 scores below the smallest float keep their proportions.", "ruling no score of the "
                    "shares", value, losses_without_floor, dtypes=FULL, examples=0.5,
                    reaches={"no score above 0": _no_score}),
        Requirement("CL-18", Level.MAY, Kind.EXTREME,
                    "With b = 0 the gradient follows its formula where scores are below the smallest float.",
                    "ruling no score of the shares", gradient("logits"), losses_of_tiny_scores, dtypes=FULL,
                    needs_gradient=True, examples=0.5),
    ),
    mutants=LOSS_MUTANTS,
    gradients={"logits": _GRAD,
               "regression_losses": oracle.classification_aware_regression_loss_grad_regression_losses},
    practical_error=practical_error,
    summands=summands,
    gradient_summands=gradient_summands,
    rulings=(
        Ruling("empty", "Without positives the loss is 0."),
        Ruling("elsewhere", "Only the losses of positives are looked at: another one may be NaN."),
    ),
    not_applicable={
        Kind.LIMIT: "the shares have theirs", Kind.CONSERVATION: "the shares sum to their number: their own contract",
        Kind.BOUND: "the shares have theirs", Kind.TIES: "no threshold", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
