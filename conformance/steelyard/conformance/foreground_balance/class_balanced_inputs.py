"""Inputs, laws and errors of the contracts of the class-balanced loss and its weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from steelyard.conformance.checking import Bench
from steelyard.conformance.contract import Array, Case, OptionValue
from steelyard.conformance.generation import ALL_DTYPES, Draw
from steelyard.conformance.precision import FLOAT64, round_to
from steelyard.conformance.soft_sampling.focal_inputs import (
    FULL,
    draw_gamma,
    option,
    textbook_derivative_error,
    textbook_error,
)
from steelyard.reference.foreground_balance import class_balanced_loss as oracle

SIGMOIDS = ("focal", "sigmoid")
_FEW = 4.0
_BETAS = (0.999, 0.9, 0.99, 0.9999, 0.5)
_COUNTS = (50.0, 5.0, 500.0, 5000.0, 1.0, 3.0, 100_000.0)

# --- counts ---------------------------------------------------------------------------------------------------


def counts_of_present(draw: Draw) -> Case:
    """Two to six classes with 1 to 100,000 samples."""
    counts = draw.array((draw.integer(2, 6),), lambda: draw.choice(_COUNTS)).astype(np.int64)
    return Case({"counts": counts}, {"beta": draw.choice(_BETAS)}, draw.dtype(FULL))


def some_absent(draw: Draw) -> Case:
    """The same with one class or more that have no sample, and one or more that have some."""
    case = counts_of_present(draw)
    counts = case.arguments["counts"].copy()
    counts[: draw.integer(1, len(counts) - 1)] = 0
    return case.with_arguments(counts=np.roll(counts, draw.integer(0, 2)))


def all_absent(draw: Draw) -> Case:
    """No class has a sample."""
    case = counts_of_present(draw)
    return case.with_arguments(counts=np.zeros_like(case.arguments["counts"]))


def beta_of_1(draw: Draw) -> Case:
    """The limit."""
    return counts_of_present(draw).with_options(beta=1.0)


def beta_of_0(draw: Draw) -> Case:
    """The other end."""
    return counts_of_present(draw).with_options(beta=0.0)


def beta_near_1(draw: Draw) -> Case:
    """Within 2^-20 to 2^-40 of 1, beyond what single precision has."""
    return counts_of_present(draw).with_options(beta=1.0 - draw.choice((2.0**-20, 2.0**-30, 2.0**-40)))


def equal_counts(draw: Draw) -> Case:
    """All classes alike."""
    case = counts_of_present(draw)
    return case.with_arguments(counts=np.full_like(case.arguments["counts"], int(draw.choice(_COUNTS))))


def long_tail(seed: int) -> Case:
    """1,203 classes from 100,000 samples down to 1, some with none."""
    random = np.random.default_rng(seed)
    counts = np.floor(10 ** (5.0 * random.random(1203) ** 2)).astype(np.int64)
    counts[random.random(1203) < 0.02] = 0
    return Case({"counts": counts}, {"beta": 0.9999}, "float64", origin=f"scene {seed}")


def _power_error(counts: Array, beta: float) -> Array:
    """Relative error of E where 1 - beta^n is formed as such, in double precision as the ruling wants."""
    if beta in (0.0, 1.0):
        return np.zeros(counts.shape)
    n = np.maximum(counts, 1).astype(np.float64)
    power = np.exp(n * np.log(beta))
    return np.asarray(_FEW * FLOAT64.unit_roundoff * (1.0 + n * power) / -np.expm1(n * np.log(beta)))


def weights_error(case: Case, u: float) -> Array:
    """Each weight has its own E and, in the sum, those of all; both are rounded to the format."""
    counts, beta = case.arguments["counts"], option(case, "beta")
    relative = _power_error(counts, beta)
    return oracle.class_balanced_weights(counts, beta=beta) * (_FEW * u + relative + relative.max(initial=0.0))


def mean_of_present_is_1(bench: Bench, case: Case) -> None:
    """The weights sum to the number of classes that occur."""
    found = bench.evaluate(case).outputs[0].astype(np.float64)
    present = int((case.arguments["counts"] > 0).sum())
    bench.expect(abs(found.sum() - present) <= 1e-4 * present, f"the sum is {found.sum()}, expected {present}", case)


def rarer_is_heavier(bench: Bench, case: Case) -> None:
    """In the order of the counts the weights fall, by no larger a factor than the counts rise."""
    counts = case.arguments["counts"]
    order = np.argsort(counts, kind="stable")
    found = bench.evaluate(case).outputs[0].astype(np.float64)[order]
    falls = found[1:] <= found[:-1] * (1.0 + 1e-4)
    bounded = found[:-1] * counts[order][:-1] <= found[1:] * counts[order][1:] * (1.0 + 1e-4)
    bench.expect(bool(falls.all()), "a class with more samples weighs more", case)
    bench.expect(bool(bounded.all()), "a class weighs more than inverse counts would have it", case)


# --- losses ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, logits: Array, dtype: str, kind: str, *, lowest: int = 0) -> Case:
    samples, classes = logits.shape
    counts = draw.array((classes,), lambda: draw.choice(_COUNTS)).astype(np.int64)
    labels = draw.integers((samples,), lowest, classes - 1)
    options: dict[str, OptionValue] = {"kind": kind, "beta": draw.choice(_BETAS), "gamma": draw_gamma(draw)}
    return Case({"logits": logits, "labels": labels, "counts": counts}, options, dtype, draw.cotangent((), dtype))


def ordinary(*kinds: str, dtypes: tuple[str, ...] = ALL_DTYPES) -> Callable[[Draw], Case]:
    """One to four samples of two to four classes, logits within 12."""

    def cases(draw: Draw) -> Case:
        dtype = draw.dtype(dtypes)
        logits = draw.logits((draw.integer(1, 4), draw.integer(2, 4)), dtype)
        return _case(draw, logits, dtype, draw.choice(kinds))

    return cases


def extreme(*kinds: str) -> Callable[[Draw], Case]:
    """Logits from 15 to 10^4, gamma at least 1."""

    def cases(draw: Draw) -> Case:
        dtype = draw.dtype(FULL)
        logits = draw.extreme_logits((draw.integer(1, 3), draw.integer(2, 3)), dtype, to_the_end=False)
        return _case(draw, logits, dtype, draw.choice(kinds)).with_options(gamma=draw.choice((2.0, 1.0, 5.0)))

    return cases


def some_ignored(draw: Draw) -> Case:
    """Samples some of which are ignored, but not all."""
    dtype = draw.dtype(FULL)
    logits = draw.logits((draw.integer(2, 5), draw.integer(2, 4)), dtype)
    case = _case(draw, logits, dtype, draw.choice(oracle.KINDS), lowest=-1)
    labels = case.arguments["labels"].copy()
    labels[0] = max(labels[0], 0)
    labels[-1] = -1
    return case.with_arguments(labels=labels)


def of_absent_classes(draw: Draw) -> Case:
    """Samples of classes that the training set is said not to have, among others."""
    case = ordinary(*oracle.KINDS, dtypes=FULL)(draw)
    counts = case.arguments["counts"].copy()
    counts[draw.integer(0, 1) :: 2] = 0
    return case.with_arguments(counts=counts)


def limits_of_beta(draw: Draw) -> Case:
    """Weights inverse to the counts."""
    return ordinary(*oracle.KINDS, dtypes=FULL)(draw).with_options(beta=1.0)


def no_sample(draw: Draw) -> Case:
    """An empty mini-batch, or one of which all is ignored."""
    dtype = draw.dtype(FULL)
    case = _case(draw, np.zeros((draw.integer(0, 2), draw.integer(2, 4))), dtype, draw.choice(oracle.KINDS))
    return case.with_arguments(labels=np.full_like(case.arguments["labels"], -1))


def scene(seed: int) -> Case:
    """A mini-batch of 512 samples of 80 classes, most of them of the frequent ones."""
    random = np.random.default_rng(seed)
    labels = (80 * random.power(0.3, 512)).astype(np.int64)
    logits = random.normal(-4.0, 2.0, (512, 80))
    counts = np.floor(200_000 * 0.92 ** np.arange(80)).astype(np.int64) + 200
    options: dict[str, OptionValue] = {"kind": "softmax", "beta": 0.9999, "gamma": 2.0}
    arguments = {"logits": round_to("float32", logits), "labels": labels, "counts": counts}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


def focal_scene(seed: int) -> Case:
    """The same for the focal kind."""
    return scene(seed).with_options(kind="focal")


def reordered(case: Case) -> Case:
    """The samples in reverse."""
    changed = {name: case.arguments[name][::-1].copy() for name in ("logits", "labels")}
    return case.with_arguments(**changed)


def renamed(case: Case) -> Case:
    """Class c is called C - 1 - c."""
    logits, labels, counts = (case.arguments[name] for name in ("logits", "labels", "counts"))
    names = np.where(labels >= 0, logits.shape[1] - 1 - labels, -1)
    return case.with_arguments(logits=logits[:, ::-1].copy(), labels=names, counts=counts[::-1].copy())


def mean_of_losses(case: Case) -> Array:
    """The plain mean over samples, from the definition."""
    z, label = case.arguments["logits"], case.arguments["labels"]
    true = label[:, np.newaxis] == np.arange(z.shape[1])
    if case.options["kind"] == "softmax":
        return np.asarray((np.logaddexp.reduce(z, axis=1) - z[true]).mean())
    signed = np.where(true, z, -z)
    gamma = option(case, "gamma") if case.options["kind"] == "focal" else 0.0
    losses = np.exp(-gamma * np.logaddexp(0.0, signed)) * np.logaddexp(0.0, -signed)
    return np.asarray(losses.sum() / len(z))


# --- errors of practice ---------------------------------------------------------------------------------------


def _weights(case: Case, u: float) -> tuple[Array, Array]:
    """Weight of each sample over their number, and the relative error of the weights."""
    label, counts, beta = case.arguments["labels"], case.arguments["counts"], option(case, "beta")
    of_class = oracle.class_balanced_weights(counts, beta=beta)
    power = _power_error(counts, beta)
    relative = _FEW * u + power + power.max(initial=0.0)
    weight = np.where(label >= 0, of_class[np.maximum(label, 0)], 0.0) / max(int((label >= 0).sum()), 1)
    return weight, relative[np.maximum(label, 0)]


def _signed(case: Case) -> tuple[Array, Array, float]:
    """Margins (R, 1) of a softmax or signed logits (R, C), the size of what cancels in them, the exponent."""
    z, label = case.arguments["logits"], np.maximum(case.arguments["labels"], 0)
    true = label[:, np.newaxis] == np.arange(z.shape[1])
    if case.options["kind"] == "softmax":
        others = np.logaddexp.reduce(np.where(true, -np.inf, z), axis=1)
        margin = np.where(true, z, 0.0).sum(axis=1) - others
        return margin[:, np.newaxis], np.abs(z).max(axis=1, keepdims=True, initial=0.0), 0.0
    return np.where(true, z, -z), np.abs(z), option(case, "gamma") if case.options["kind"] == "focal" else 0.0


def loss_error(case: Case, u: float) -> Array:
    """Of every sample's loss that of the textbook formula and that of its weight."""
    (weight, relative), (t, size, gamma) = _weights(case, u), _signed(case)
    error = textbook_error(t, gamma, size, u).sum(axis=1)
    exact = (np.exp(-gamma * np.logaddexp(0.0, t)) * np.logaddexp(0.0, -t)).sum(axis=1)
    return np.asarray((weight * (error + relative * exact)).sum())


def loss_gradient_error(case: Case, u: float) -> Array:
    """The same for every derivative: those of a softmax are at most that by the margin."""
    (weight, relative), (t, size, gamma) = _weights(case, u), _signed(case)
    options = dict(case.options)
    slope = np.abs(oracle.class_balanced_loss_grad(**case.arguments, **options))  # type: ignore[arg-type]
    error = weight[:, np.newaxis] * textbook_derivative_error(t, gamma, size, u) + relative[:, np.newaxis] * slope
    upstream = 1.0 if case.cotangent is None else np.abs(case.cotangent)
    return np.asarray(np.broadcast_to(upstream * error, case.arguments["logits"].shape))


def summands(case: Case) -> tuple[int, Array]:
    """As many terms as channels of samples, none negative."""
    total = oracle.class_balanced_loss(**case.arguments, **case.options)  # type: ignore[arg-type]
    return max(case.arguments["logits"].size, 1), total
