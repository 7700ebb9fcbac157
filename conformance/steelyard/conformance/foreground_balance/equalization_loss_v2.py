"""Contract of the equalization loss v2.

Tan et al., "Equalization Loss v2: A New Gradient Balance Approach for Long-tailed Object Detection", CVPR 2021 (arXiv
2012.08548).
"""

from __future__ import annotations

from dataclasses import replace

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
    sending,
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
    PracticalError,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.foreground_balance.equalization_loss_v2_mutants import MUTANTS
from steelyard.conformance.generation import Draw
from steelyard.conformance.judging import RANDOM_WALK, Bounds
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF
from steelyard.reference.foreground_balance import equalization_loss_v2 as oracle

_TAN = (
    'Tan et al., "Equalization Loss v2: A New Gradient Balance Approach for Long-tailed Object Detection", CVPR 2021, '
    "arXiv 2012.08548"
)
_SUMS = ("positive_gradients", "negative_gradients")
_FEW = 4.0

# --- inputs ---------------------------------------------------------------------------------------------------


def _case(draw: Draw, logits: Array, dtype: str, *, lowest: int = 0) -> Case:
    """Classes whose ratio is on both sides of mu, some of which never had a positive sample."""
    samples, channels = logits.shape
    down = draw.array((channels - 1,), lambda: draw.choice((1.0, 0.25, 8.0, 512.0)))
    ratio = draw.array((channels - 1,), lambda: draw.choice((1.0, 0.0, 0.5, 0.75, 0.875, 2.0, 0.25)))
    options: dict[str, OptionValue] = {
        "gamma": draw.choice((12.0, 6.0, 2.0)), "mu": draw.choice((0.8, 0.5, 1.0)),
        "alpha": draw.choice((4.0, 1.0, 8.0)), "reduction": "mean",
    }  # fmt: skip
    arguments = {
        "logits": logits,
        "labels": draw.integers((samples,), lowest, channels - 1),
        "positive_gradients": ratio * down,
        "negative_gradients": down,
    }
    return Case(arguments, options, dtype)


def _logits(draw: Draw, dtype: str) -> Array:
    return draw.logits((draw.integer(1, 4), draw.integer(2, 4)), dtype)


def ordinary(draw: Draw) -> Case:
    """One to four samples, background among them, of one to three classes; logits within 12."""
    dtype = draw.dtype()
    return _case(draw, _logits(draw, dtype), dtype)


def nothing_so_far(draw: Draw) -> Case:
    """The first call of training, or the first that has some of the classes.

    A class of whose samples alone there were any has positive gradients only: their ratio is to 10^-10.
    """
    case = ordinary(draw)
    up, down = (case.arguments[name] for name in _SUMS)
    some = draw.integers(up.shape, 0, 1) * draw.integer(0, 1)
    up, down = up * some, down * some
    if draw.flag(40):
        up = draw.array(up.shape, lambda: draw.choice((2.0**-33, 2.0**-34, 0.0, 0.25)))
        down = np.where(up > 0.0, 0.0, down)
    return case.with_arguments(positive_gradients=up, negative_gradients=down)


def with_weights(draw: Draw) -> Case:
    """Samples of several weights, 0 among them."""
    case = ordinary(draw)
    weights = draw.array(case.arguments["labels"].shape, lambda: draw.choice((0.5, 2.0, 0.0, 1.0, 0.25)))
    weights[0] = draw.choice((0.5, 2.0, 0.25))
    return case.with_arguments(weights=weights)


def other_reductions(draw: Draw) -> Case:
    """The sum, or the elements, of two to four samples."""
    dtype = draw.dtype()
    case = _case(draw, draw.logits((draw.integer(2, 4), draw.integer(2, 4)), dtype), dtype)
    if draw.flag():
        return case.with_options(reduction="sum")
    cotangent = draw.cotangent(case.arguments["logits"].shape, dtype)
    return replace(case.with_options(reduction="none"), cotangent=cotangent)


def without_positive_weight(draw: Draw) -> Case:
    """Alpha = 0."""
    return ordinary(draw).with_options(alpha=0.0)


def extreme(draw: Draw) -> Case:
    """Logits from 15 to 10^4."""
    dtype = draw.dtype()
    return _case(draw, draw.extreme_logits((draw.integer(1, 3), draw.integer(2, 3)), dtype, to_the_end=False), dtype)


def some_ignored(draw: Draw) -> Case:
    """The first sample is ignored, another one is not."""
    dtype = draw.dtype()
    case = _case(draw, draw.logits((draw.integer(2, 4), draw.integer(2, 4)), dtype), dtype, lowest=-1)
    labels = case.arguments["labels"].copy()
    labels[0], labels[-1] = -1, draw.integer(0, case.arguments["logits"].shape[1] - 1)
    return case.with_arguments(labels=labels)


def no_sample(draw: Draw) -> Case:
    """An empty mini-batch, or one whose samples are all ignored."""
    dtype = draw.dtype()
    case = _case(draw, np.zeros((draw.integer(0, 2), draw.integer(2, 4))), dtype)
    return case.with_arguments(labels=np.full_like(case.arguments["labels"], -1))


def scene(seed: int) -> Case:
    """LVIS's 1,203 classes in mid-training: 64 samples, most of them background or of frequent classes."""
    random = np.random.default_rng(seed)
    share = 10.0 ** (-4.0 * random.random(1203))
    labels = np.where(random.random(64) < 0.5, 1203, random.choice(1203, 64, p=share / share.sum()))
    logits = random.normal(-4.0, 2.0, (64, 1204))
    logits[np.arange(64), labels] += random.normal(5.0, 3.0, 64)
    down = 2000.0 * share + 1.0
    up = down * random.choice([0.0, 0.3, 0.7, 0.8, 0.9, 1.5], 1203)
    arguments = {
        "logits": round_to("float32", logits), "labels": labels,
        "positive_gradients": round_to("float32", up), "negative_gradients": round_to("float32", down),
    }  # fmt: skip
    options: dict[str, OptionValue] = {"gamma": 12.0, "mu": 0.8, "alpha": 4.0, "reduction": "mean"}
    return Case(arguments, options, "float32", origin=f"scene {seed}")


# --- what practical formulas lose -----------------------------------------------------------------------------


def _coefficients(case: Case) -> Array:
    """What a cross entropy of 1 would count in every element: its weights, by the divisor."""
    z = case.arguments["logits"]
    elements = replace(case.with_options(reduction="none"), cotangent=None)
    zeros = elements.with_arguments(logits=np.zeros(z.shape)).arguments
    of_element = oracle.equalization_loss_v2(**zeros, **elements.options).loss / np.log(2.0)  # type: ignore[arg-type]
    return np.asarray(of_element / _divisor(case))


def _divisor(case: Case) -> int:
    kept = int(np.count_nonzero(case.arguments["labels"] != -1))
    return max(kept, 1) if case.options["reduction"] == "mean" else 1


def practical_error(case: Case, u: float) -> Array:
    """A cross entropy is formed of numbers as large as the logit, which cancel down to log 2 at least or to nothing."""
    z = case.arguments["logits"]
    errors = _FEW * u * _coefficients(case) * (1.0 + np.abs(z))
    return errors if case.options["reduction"] == "none" else np.asarray(errors.sum())


def practical_gradient_error(case: Case, u: float) -> Array:
    """The score was rounded before the target is subtracted: a few roundoffs of 1."""
    errors = _FEW * u * _coefficients(case)
    return errors if case.cotangent is None else errors * np.abs(case.cotangent)


def _practical_sum_error(*, of_positives: bool) -> PracticalError:
    """The same score in the sums over samples, which themselves lose like a random walk."""

    def error(case: Case, u: float) -> Array:
        z, labels = case.arguments["logits"], case.arguments["labels"]
        counted = (labels[:, np.newaxis] == np.arange(z.shape[1])) == of_positives
        each = np.where(counted, _coefficients(case) * _divisor(case), 0.0).sum(axis=0)[:-1]
        before = case.arguments[_SUMS[0] if of_positives else _SUMS[1]]
        return np.asarray(u * (_FEW * each + RANDOM_WALK * np.sqrt(len(z)) * (each + before)))

    return error


def summands(case: Case) -> tuple[int, Array]:
    """Number of terms and their sum: none is negative."""
    loss = np.asarray(oracle.equalization_loss_v2(**case.arguments, **case.options).loss)  # type: ignore[arg-type]
    if case.options["reduction"] == "none":
        return 1, np.zeros(loss.shape)
    return case.arguments["logits"].size, loss


# --- laws -----------------------------------------------------------------------------------------------------


def cross_entropy(case: Case) -> Array:
    """Of every channel, from the definition; the mean over samples."""
    z, labels = case.arguments["logits"], case.arguments["labels"]
    signed = np.where(labels[:, np.newaxis] == np.arange(z.shape[1]), z, -z)
    return np.asarray(np.logaddexp(0.0, -signed).sum() / len(z))


def gradients_add_up(bench: Bench, case: Case) -> None:
    """What the samples add one by one, from the same state, is what they add together."""
    whole = bench.evaluate(case)
    parts = [bench.evaluate(_only(case, i)) for i in range(len(case.arguments["labels"]))]
    for number, name in enumerate(_SUMS, start=1):
        before, dtype = case.arguments[name], float_format(whole.dtypes[number], case)
        added = sum(np.asarray(part.outputs[number], dtype=np.float64) - before for part in parts)
        bounds = bench.bounds(case, dtype, number)
        assert bounds is not None
        total = Bounds(bounds.strict * (1 + len(parts)), bounds.loose * (1 + len(parts)))
        bench.expect_close(case, whole.outputs[number], before + added, total, dtype, f"{name} of all samples")


def _only(case: Case, i: int) -> Case:
    return case.with_arguments(**{name: case.arguments[name][i : i + 1] for name in ("logits", "labels")})


def renamed(case: Case) -> Case:
    """Class c is called C - 1 - c; background keeps its channel."""
    z, labels = case.arguments["logits"], case.arguments["labels"]
    classes = z.shape[1] - 1
    return case.with_arguments(
        logits=np.concatenate([z[:, -2::-1], z[:, -1:]], axis=1),
        labels=np.where((labels >= 0) & (labels < classes), classes - 1 - labels, labels),
        **{name: case.arguments[name][::-1].copy() for name in _SUMS},
    )


def back(output: Array, _: Case) -> Array:
    """The loss as it is, sums of classes by their old names."""
    return output[::-1] if output.ndim else output


# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by EQV-1; kept because a failure then names the law that is broken"
_OTHER_CLASSES = BadInput("gradients of one class too many", lambda case: case.with_arguments(
    **{name: np.concatenate([case.arguments[name], [1.0]]) for name in _SUMS}))  # fmt: skip

EQUALIZATION_LOSS_V2 = Technique(
    id="equalization_loss_v2",
    title="Equalization loss v2",
    family="foreground_balance",
    summary="Cross entropy of every channel, its positives and negatives weighed by the gradients of both so far.",
    sources=(_TAN, "the authors' code and MMDetection's EQLV2Loss (object's channel, first ratio, weighted sums)"),
    oracle=oracle.equalization_loss_v2,
    gradients={"logits": oracle.equalization_loss_v2_grad},
    arguments=(
        Argument("logits", ("R", "C+1"), "float", "scores before the sigmoid, of background last",
                 differentiable=True),
        Argument("labels", ("R",), "int", "0..C-1 foreground, C background, -1 ignore"),
        Argument("positive_gradients", ("C",), "float", "sums before this call, >= 0; zeros at the start"),
        Argument("negative_gradients", ("C",), "float", "sums before this call, >= 0; zeros at the start"),
        Argument("weights", ("R",), "float", "of the samples, >= 0; left out: 1", optional=True),
    ),
    options=(
        Option("gamma", 12.0, "steepness of the weight by the ratio of the gradients, > 0"),
        Option("mu", 0.8, "ratio at which negatives weigh 1/2"),
        Option("alpha", 4.0, "how much more positives may weigh, >= 0; 0 is off"),
        Option("reduction", "mean", "mean: by the samples that are not ignored; sum; none: the elements"),
    ),
    outputs=(
        Output("loss", (), "float", "the loss, or its elements (R, C + 1)"),
        Output("positive_gradients", ("C",), "float", "sums after this call"),
        Output("negative_gradients", ("C",), "float", "sums after this call"),
    ),
    practical_error=practical_error,
    practical_gradient_error=practical_gradient_error,
    further_practical_errors={
        "positive_gradients": _practical_sum_error(of_positives=True),
        "negative_gradients": _practical_sum_error(of_positives=False),
    },
    summands=summands,
    requirements=(
        Requirement("EQV-1", Level.MUST, Kind.VALUE,
                    "The loss is the mean over samples of q BCE of positives and r BCE of negatives, weights of the "
                    "gradients before the call; the weighted gradients are added up.",
                    "gradient guided reweighing", value, ordinary, scenes=(scene,), dtypes=FULL,
                    reaches={"a background sample": lambda c: bool((c.arguments["labels"] == c.arguments[
                        "logits"].shape[1] - 1).any()),
                             "a class without positives so far": lambda c: bool((c.arguments[
                                 "positive_gradients"] == 0).any()),
                             "negatives in balance": lambda c: bool((c.arguments["positive_gradients"] > c.arguments[
                                 "negative_gradients"]).any())}),
        Requirement("EQV-2", Level.MUST, Kind.GRADIENT, "The gradient is the weight times (p - y), by the samples.",
                    "gradient guided reweighing", gradient("logits"), ordinary, scenes=(scene,), needs_gradient=True,
                    dtypes=FULL),
        Requirement("EQV-3", Level.MUST, Kind.EMPTY, "A class without gradients so far has the ratio 100.",
                    "ruling first-ratio", value, nothing_so_far, dtypes=FULL, examples=0.5,
                    reaches={"nothing so far": lambda c: not any(c.arguments[name].any() for name in _SUMS),
                             "positive gradients alone": lambda c: bool(((c.arguments["positive_gradients"] > 0) & (
                                 c.arguments["negative_gradients"] == 0)).any())}),
        Requirement("EQV-4", Level.MUST, Kind.REDUCES_TO,
                    "With gradients in balance by far and alpha 0 it is the cross entropy.",
                    "gradient guided reweighing", reduces_to(cross_entropy, alpha=0.0, gamma=12.0, mu=-10.0), ordinary,
                    options=("alpha", "gamma", "mu"), dtypes=FULL, examples=0.3,
                    no_mutant="EQV-1 has such ratios, EQV-5 such an alpha"),
        Requirement("EQV-5", Level.MUST, Kind.LIMIT, "With alpha 0 positives have the weight 1.",
                    "gradient guided reweighing", value, without_positive_weight, options=("alpha",), dtypes=FULL,
                    examples=0.3),
        Requirement("EQV-6", Level.MUST, Kind.VALUE,
                    "The weight of a sample is one of its losses and of the gradients that it adds.",
                    "ruling weights", sending("weights"), with_weights, dtypes=FULL, examples=0.5,
                    reaches={"a weight of 0": lambda c: bool((c.arguments["weights"] == 0).any())}),
        Requirement("EQV-7", Level.MUST, Kind.VALUE, "Sum and elements are not divided; the state is the same.",
                    "ruling reductions", value, other_reductions, options=("reduction",), dtypes=FULL, examples=0.5,
                    reaches={"the sum": lambda c: c.options["reduction"] == "sum",
                             "the elements": lambda c: c.options["reduction"] == "none"}),
        Requirement("EQV-8", Level.MUST, Kind.EXTREME, "Loss and sums follow the formula for logits up to 10^4.",
                    "ruling no-clamp", value, extreme, dtypes=FULL, examples=0.5),
        Requirement("EQV-9", Level.MUST, Kind.EXTREME, "The gradient is finite and right there.", "ruling no-clamp",
                    gradient("logits"), extreme, needs_gradient=True, dtypes=FULL, examples=0.5),
        Requirement("EQV-10", Level.SHOULD, Kind.EXTREME, "Half-precision logits give what is computed in float32.",
                    "ruling half-precision", value, ordinary, dtypes=HALF, examples=0.5),
        Requirement("EQV-11", Level.SHOULD, Kind.EXTREME, "Half-precision logits give the gradient of float32.",
                    "ruling half-precision", gradient("logits"), ordinary, needs_gradient=True, dtypes=HALF,
                    examples=0.5),
        Requirement("EQV-12", Level.MUST, Kind.EMPTY,
                    "Ignored samples have no loss, are not counted, and add no gradients.", "ruling ignored", value,
                    some_ignored, dtypes=FULL, examples=0.5,
                    no_mutant="what counts an ignored sample has a wrong gradient too, which EQV-13 sees"),
        Requirement("EQV-13", Level.MUST, Kind.EMPTY, "And have the gradient 0.", "ruling ignored",
                    gradient("logits"), some_ignored, needs_gradient=True, dtypes=FULL, examples=0.3),
        Requirement("EQV-14", Level.MUST, Kind.EMPTY, "Without a sample the loss is 0, and the gradients stay.",
                    "ruling no-sample", value, no_sample, dtypes=FULL, examples=0.3,
                    reaches={"an empty mini-batch": lambda c: c.arguments["labels"].size == 0}),
        Requirement("EQV-15", Level.MUST, Kind.CONSERVATION, "Samples add together what they add one by one.",
                    "gradient guided reweighing", gradients_add_up, ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("EQV-16", Level.MUST, Kind.INVARIANCE, "Other names of the classes change nothing.",
                    "gradient guided reweighing", same_as(renamed, "answer with other names", back), ordinary,
                    dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("EQV-17", Level.MUST, Kind.PURITY,
                    "The inputs are not written to, the state among them, and equal calls agree.", "house rule",
                    purity, ordinary, dtypes=FULL, examples=0.3),
        Requirement("EQV-18", Level.SHOULD, Kind.ERROR, "Labels and gradients that do not fit the logits are refused.",
                    "house rule", refuses(bad_shape("labels"), _OTHER_CLASSES, without_axes("logits", "labels")),
                    ordinary, dtypes=FULL, examples=0.2),
        Requirement("EQV-19", Level.MAY, Kind.ERROR,
                    "A gamma of 0, a negative alpha and an unknown reduction are refused.", "house rule",
                    refuses(bad_option("gamma", 0.0), bad_option("alpha", -1.0), bad_option("reduction", "average")),
                    ordinary, dtypes=FULL, examples=0.2),
        Requirement("EQV-20", Level.MUST, Kind.GRADIENT, "Nor are the gradients of sum and elements divided.",
                    "ruling reductions", gradient("logits"), other_reductions, options=("reduction",),
                    needs_gradient=True, dtypes=FULL, examples=0.3),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("before", "The weights are those of the gradients before the call; its own are added after (code)."),
        Ruling("weighted", "The gradients that are added up are weighted, and not divided by R (authors' code)."),
        Ruling("object", "The last channel says that there is no object: its weights are 1, its gradients not kept."),
        Ruling("first-ratio", "Where both sums are 0 the ratio is 100 (authors' code, at the start of training)."),
        Ruling("no-zero", "10^-10 is added to the negative gradients before the division (authors' code)."),
        Ruling("weights", "A weight is one of a sample's loss, so of its gradients; R counts samples, not weights."),
        Ruling("reductions", "mean divides by the samples that are not ignored, background among them."),
        Ruling("ignored", "An ignored sample has no loss, is not counted, adds no gradients, whatever its logits."),
        Ruling("no-sample", "Without a sample the divisor is 1: the loss is 0."),
        Ruling("no-clamp", "Logits and scores are not clamped."),
        Ruling("half-precision", "float16 and bfloat16 are computed and added up in float32."),
    ),
    not_applicable={
        Kind.DETACHED: "the weights are of the state, which the logits do not touch before the call ends",
        Kind.BOUND: "negatives weigh 0 to 1, positives 1 to 1 + alpha, which EQV-1 sees",
        Kind.TIES: "no threshold",
        Kind.BATCH: "sample by sample but for the divisor: EQV-15", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
