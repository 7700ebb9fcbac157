"""Contract of SSD's confidence loss: cross entropy of the positives and of the mined negatives.

Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016 (arXiv 1512.02325), section 2.2, equations 1 and 3.
"""

from __future__ import annotations

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    float_format,
    gradient,
    padding,
    purity,
    reduces_to,
    refuses,
    same_as,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.hard_sampling.hard_negative_mining import LEAST, PAPER, RATIO, RULINGS, mining_options
from steelyard.conformance.hard_sampling.mining_inputs import CLASSES, FULL, distinct_ranks
from steelyard.conformance.hard_sampling.ssd_confidence_loss_mutants import MUTANTS
from steelyard.conformance.judging import Bounds
from steelyard.conformance.precision import round_to
from steelyard.conformance.real_data import dense_image
from steelyard.conformance.soft_sampling.focal_inputs import (
    HALF,
    option,
    textbook_derivative_error,
    textbook_error,
)
from steelyard.reference.hard_sampling import hard_negative_mining as oracle
from steelyard.reference.soft_sampling.softmax_focal_loss import softmax_focal_loss

# --- inputs ---------------------------------------------------------------------------------------------------


def _logits_apart(draw: Draw, shape: tuple[int, int], dtype: str, *, reach: float = 4.0) -> Array:
    """Logits whose margins of the background are half a unit apart, so that no rounding reorders the losses."""
    logits = draw.logits((*shape, CLASSES + 1), dtype, reach=reach)
    others = np.logaddexp.reduce(logits[..., :-1], axis=-1)
    logits[..., -1] = others + distinct_ranks(draw, shape) / 2.0 - 3.0
    return round_to(dtype, logits)


def _case(draw: Draw, labels: Array, dtype: str, *, reach: float = 4.0) -> Case:
    logits = _logits_apart(draw, labels.shape, dtype, reach=reach)
    return Case({"logits": logits, "labels": labels}, mining_options(draw), dtype, draw.cotangent((), dtype))


def _with_room(draw: Draw, shape: tuple[int, int]) -> Array:
    """At most a quarter of each image positive."""
    positives = draw.integer(0 if shape[1] < 4 else 1, shape[1] // 4)
    places = distinct_ranks(draw, shape)
    return np.where(places < positives, draw.integers(shape, 0, CLASSES - 1), CLASSES)


def ordinary(draw: Draw) -> Case:
    """One to three images with three negatives for each positive, at least."""
    dtype = draw.dtype()
    return _case(draw, _with_room(draw, (draw.integer(1, 3), draw.integer(4, 12))), dtype)


def many_positives(draw: Draw) -> Case:
    """Images in which positives and background are equally frequent: there are not three negatives for each."""
    shape = (draw.integer(1, 2), draw.integer(2, 6))
    labels = draw.array(shape, lambda: float(draw.choice((CLASSES, 0)))).astype(np.int64)
    labels[:, 0], labels[:, 1] = 0, CLASSES
    return _case(draw, labels, draw.dtype()).with_options(negatives_per_positive=draw.choice((3.0, 2.0)))


def equal_candidates(draw: Draw) -> Case:
    """Candidates with the same few logits."""
    case = ordinary(draw)
    logits = case.arguments["logits"]
    chosen = draw.integers(logits.shape[:-1], 0, 1)[..., None]
    return case.with_arguments(logits=np.take_along_axis(logits, np.broadcast_to(chosen, logits.shape), axis=1))


def some_ignored(draw: Draw) -> Case:
    """The same with ignored candidates."""
    case = ordinary(draw)
    labels = case.arguments["labels"]
    ignored = draw.array(labels.shape, lambda: float(draw.flag(30)))
    return case.with_arguments(labels=np.where(ignored == 1.0, -1, labels))


def fractional_ratio(draw: Draw) -> Case:
    """A ratio that is not whole."""
    return ordinary(draw).with_options(negatives_per_positive=draw.choice((2.5, 0.5, 1.75)))


def with_a_least_number(draw: Draw) -> Case:
    """At least some negatives of each image, also without positives."""
    case = ordinary(draw).with_options(min_negatives=draw.choice((1, 2, 5)))
    return case.with_arguments(labels=np.full_like(case.arguments["labels"], CLASSES)) if draw.flag(30) else case


def no_positive(draw: Draw) -> Case:
    """Background only, or no candidate."""
    shape = (draw.integer(1, 2), draw.choice((3, 1, 5, 0)))
    return _case(draw, np.full(shape, CLASSES), draw.dtype())


def hard_positives(draw: Draw) -> Case:
    """Logits up to 40, so that some true classes have probabilities next to nothing."""
    dtype = draw.dtype()
    return _case(draw, _with_room(draw, (draw.integer(1, 2), draw.integer(4, 8))), dtype, reach=40.0)


def large_logits(draw: Draw) -> Case:
    """Logits up to 1000, and whole images that are shifted by 500 against each other."""
    dtype = draw.dtype(FULL)
    case = _case(draw, _with_room(draw, (2, draw.integer(4, 8))), dtype, reach=draw.choice((4.0, 50.0)))
    shift = np.array([0.0, draw.choice((500.0, -500.0, 950.0))])[:, None, None]
    return case.with_arguments(logits=round_to(dtype, case.arguments["logits"] + shift))


def default_boxes(seed: int) -> Case:
    """Two images of SSD300's 8,732 default boxes and 20 classes, two in a thousand of them positive."""
    random = np.random.default_rng(seed)
    labels = np.where(random.random((2, 8732)) < 2e-3, random.integers(0, 20, (2, 8732)), 20)
    logits = random.normal(0.0, 1.5, (*labels.shape, 21))
    logits[..., -1] += 5.0
    options: dict[str, OptionValue] = {"negatives_per_positive": 3.0, "min_negatives": 0}
    return Case({"logits": round_to("float32", logits), "labels": labels}, options, "float32", origin=f"scene {seed}")


def detector_outputs(seed: int) -> Case:
    """What a trained detector makes of a photograph; its class logits against a background logit of 0."""
    image = dense_image(seed)
    logits = np.concatenate([image.class_logits, np.zeros((len(image.labels), 1))], axis=-1)
    options: dict[str, OptionValue] = {"negatives_per_positive": 3.0, "min_negatives": 0}
    arguments = {"logits": logits[None], "labels": image.labels[None]}
    return Case(arguments, options, "float32", origin=f"image {image.image_id}")


# --- laws and practical errors --------------------------------------------------------------------------------


def _selected(case: Case) -> tuple[Array, Array, int]:
    """Cross entropies, who enters the loss, and what it is divided by."""
    logits, labels = case.arguments["logits"], case.arguments["labels"]
    losses = softmax_focal_loss(logits, labels, alpha=None, gamma=0.0)
    options = {name: case.options[name] for name in ("negatives_per_positive", "min_negatives")}
    sample = oracle.hard_negative_mining(losses, labels, num_classes=logits.shape[-1] - 1, **options)  # type: ignore[arg-type]
    return losses, sample.positive | sample.negative, max(1, int(sample.positive.sum()))


def _margin(case: Case) -> tuple[Array, Array]:
    """True logit minus the log-sum-exp of the others, and the size of the logits that cancel in it."""
    z, labels = case.arguments["logits"], np.maximum(case.arguments["labels"], 0)[..., None]
    others = np.where(labels == np.arange(z.shape[-1]), -np.inf, z)
    margin = np.take_along_axis(z, labels, -1)[..., 0] - np.logaddexp.reduce(others, axis=-1)
    return margin, np.abs(z).max(axis=-1, initial=0.0)


def practical_error(case: Case, u: float) -> Array:
    """Each cross entropy by a log-softmax, whose logits cancel."""
    _, selected, divisor = _selected(case)
    margin, size = _margin(case)
    return np.asarray(np.where(selected, textbook_error(margin, 0.0, size, u), 0.0).sum() / divisor)


def practical_gradient_error(case: Case, u: float) -> Array:
    """The gradient's: every channel's derivative is at most that by the margin."""
    _, selected, divisor = _selected(case)
    margin, size = _margin(case)
    error = np.where(selected, textbook_derivative_error(margin, 0.0, size, u), 0.0) / divisor
    if case.cotangent is not None:
        error = error * np.abs(case.cotangent)
    return np.asarray(np.broadcast_to(error[..., None], case.arguments["logits"].shape))


def summands(case: Case) -> tuple[int, Array]:
    """The cross entropies that enter."""
    losses, selected, divisor = _selected(case)
    return int(selected.sum()), np.asarray(losses[selected].sum() / divisor)


def only_the_sample_learns(bench: Bench, case: Case) -> None:
    """Exactly 0 for every candidate outside the sample."""
    _, selected, _ = _selected(case)
    found = bench.evaluate(case, ("logits",)).gradients["logits"][~selected]
    bench.expect(not found.any(), "gradient at a candidate outside the sample", case)


def images_add_up(bench: Bench, case: Case) -> None:
    """The loss times the positives of the batch is the sum of the images' losses times their positives."""
    labels = case.arguments["labels"]
    numbers = ((labels >= 0) & (labels < CLASSES)).sum(axis=-1)
    shares = np.maximum(1, numbers) / max(1, int(numbers.sum()))
    answer = bench.evaluate(case)
    dtype = float_format(answer.dtypes[0], case)
    total, bounds = np.zeros(()), bench.bounds(case, dtype)
    for b, share in enumerate(shares):
        image = case.with_arguments(**{name: values[b : b + 1] for name, values in case.arguments.items()})
        total = total + share * bench.evaluate(image).outputs[0]
        own = bench.bounds(image, dtype)
        assert bounds is not None
        assert own is not None
        bounds = bounds + Bounds(share * own.strict, share * own.loose)
    bench.expect_close(case, answer.outputs[0], total, bounds, dtype, "batch against its images")


def reversed_candidates(case: Case) -> Case:
    """Candidates of each image in reverse."""
    return case.with_arguments(**{name: values[:, ::-1].copy() for name, values in case.arguments.items()})


def shifted(case: Case) -> Case:
    """A constant added to all logits of a candidate, another one to each; exact in every format."""
    number = np.arange(case.arguments["labels"].shape[1]) % 3 * 4.0
    return case.with_arguments(logits=round_to(case.dtype, case.arguments["logits"] + number[:, None]))


def cross_entropy_of_all(case: Case) -> Array:
    """Over all candidates of images with positives, divided by these."""
    z, labels = case.arguments["logits"], case.arguments["labels"]
    true = np.take_along_axis(z, np.maximum(labels, 0)[..., None], -1)[..., 0]
    losses = np.where(labels == -1, 0.0, np.logaddexp.reduce(z - true[..., None], axis=-1))
    numbers = ((labels >= 0) & (labels < z.shape[-1] - 1)).sum(axis=-1)
    return np.asarray(losses[numbers > 0].sum() / max(1, numbers.sum()))


def on_a_grid(draw: Draw) -> Case:
    """Logits that are multiples of 1/16, to which a small whole number can be added exactly."""
    case = ordinary(draw)
    return case.with_arguments(logits=np.round(case.arguments["logits"] * 16.0) / 16.0)


def _fewer_than_asked_for(case: Case) -> bool:
    labels = case.arguments["labels"]
    positives = ((labels >= 0) & (labels < CLASSES)).sum(axis=-1)
    return bool((option(case, "negatives_per_positive") * positives > (labels == CLASSES).sum(axis=-1)).any())


# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by SSD-1; kept because a failure then names the law that is broken"

SSD_CONFIDENCE_LOSS = Technique(
    id="ssd_confidence_loss",
    title="SSD's confidence loss with hard-negative mining",
    family="hard_sampling",
    summary="Cross entropy of the positives and of three mined negatives for each, divided by the positives.",
    sources=(f"{PAPER}, section 2.2, equations 1 and 3",),
    oracle=oracle.ssd_confidence_loss,
    arguments=(
        Argument("logits", ("...", "N", "C+1"), "float", "the background last", differentiable=True),
        Argument("labels", ("...", "N"), "int", "0..C-1 foreground, C background, -1 ignore"),
    ),
    options=(RATIO, LEAST),
    outputs=(Output("loss", (), "float", "loss of the mini-batch"),),
    requirements=(
        Requirement("SSD-1", Level.MUST, Kind.VALUE, "The positives and the hardest negatives, over the positives.",
                    "equations 1 and 3", value, ordinary, scenes=(default_boxes, detector_outputs), dtypes=FULL,
                    reaches={"several images": lambda c: len(c.arguments["labels"]) > 1,
                             "no negative wanted": lambda c: c.options["negatives_per_positive"] == 0.0}),
        Requirement("SSD-2", Level.MUST, Kind.EMPTY,
                    "Where there are fewer negatives than asked for, each positive still counts once.",
                    "ruling too few", value, many_positives, dtypes=FULL,
                    no_mutant="SSD-13 asks for more negatives than there are, too",
                    reaches={"fewer negatives than asked for": _fewer_than_asked_for}),
        Requirement("SSD-3", Level.MUST, Kind.GRADIENT, "(softmax - one-hot) / N in the sample, the choice held fixed.",
                    "equation 3", gradient("logits"), ordinary, dtypes=FULL, needs_gradient=True,
                    no_mutant="SSD-11 judges gradients too; it may fail where this one must not"),
        Requirement("SSD-4", Level.MUST, Kind.DETACHED, "A candidate outside the sample gets no gradient.",
                    "section 2.2", only_the_sample_learns, ordinary, scenes=(detector_outputs,), dtypes=FULL,
                    needs_gradient=True, examples=0.3,
                    no_mutant="implied by SSD-3; kept because a failure then names the law that is broken"),
        Requirement("SSD-5", Level.MUST, Kind.EMPTY, "Without positives the loss is 0.", "ruling no positives", value,
                    no_positive, dtypes=FULL, examples=0.3),
        Requirement("SSD-6", Level.MUST, Kind.EXTREME, "Logits up to 1000, and images 500 apart, are right.",
                    "house rule", value, large_logits, dtypes=FULL, examples=0.5),
        Requirement("SSD-7", Level.SHOULD, Kind.EXTREME, "Half precision is computed without loss of range.",
                    "house rule", value, hard_positives, dtypes=HALF, examples=0.5),
        Requirement("SSD-8", Level.SHOULD, Kind.TIES, "A ratio that is not whole is not exceeded.",
                    'section 2.2, "at most"; ruling ratio', value, fractional_ratio, dtypes=FULL, examples=0.3),
        Requirement("SSD-9", Level.MUST, Kind.VALUE, "Ignored candidates enter neither sum nor divisor.",
                    "ruling ignored", value, some_ignored, dtypes=FULL, examples=0.5,
                    no_mutant="what is counted of ignored candidates, padding (SSD-15) shows too",
                    reaches={"an ignored candidate": lambda c: bool((c.arguments["labels"] == -1).any())}),
        Requirement("SSD-10", Level.MUST, Kind.TIES, "Equal candidates: whichever is taken, the loss is the same.",
                    "ruling ties", value, equal_candidates, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("SSD-11", Level.MAY, Kind.TIES, "Of equal candidates the first one learns.", "ruling ties",
                    gradient("logits"), equal_candidates, dtypes=FULL, needs_gradient=True, examples=0.3),
        Requirement("SSD-12", Level.MUST, Kind.VALUE, "The least number holds for each image, also without positives.",
                    "ruling no positives", value, with_a_least_number, dtypes=FULL, examples=0.3,
                    options=("min_negatives",)),
        Requirement("SSD-13", Level.MUST, Kind.REDUCES_TO,
                    "With negatives without limit it is the cross entropy of all, over the positives.", "equation 1",
                    reduces_to(cross_entropy_of_all, negatives_per_positive=1e6), many_positives, dtypes=FULL,
                    examples=0.3, no_mutant="implied by SSD-2; kept because a failure then names the law"),
        Requirement("SSD-14", Level.MUST, Kind.BATCH, "Each image has its ratio, the batch one divisor.",
                    "ruling ratio", images_add_up, ordinary, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("SSD-15", Level.MUST, Kind.BATCH, "Ignored candidates at the end of an image change nothing.",
                    "padding", padding(1, labels=-1, logits=0.0), ordinary, dtypes=FULL, examples=0.3,
                    no_mutant="implied by SSD-9; kept because a failure then names the law that is broken"),
        Requirement("SSD-16", Level.MUST, Kind.INVARIANCE, "The order of the candidates means nothing.",
                    "equation 1", same_as(reversed_candidates, "loss of the reordered images"), ordinary, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("SSD-17", Level.MUST, Kind.INVARIANCE, "A constant added to all logits of a candidate is lost.",
                    "softmax", same_as(shifted, "loss of shifted logits"), on_a_grid, dtypes=("float64",),
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("SSD-18", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, ordinary, dtypes=FULL, examples=0.3),
        Requirement("SSD-19", Level.SHOULD, Kind.ERROR, "Labels of another number of images are refused.",
                    "house rule", refuses(bad_shape("labels")), ordinary, dtypes=FULL, examples=0.2),
        Requirement("SSD-20", Level.MAY, Kind.ERROR, "A negative ratio and a negative least number are refused.",
                    "house rule", refuses(bad_option("negatives_per_positive", -1.0), bad_option("min_negatives", -1)),
                    ordinary, dtypes=FULL, examples=0.2),
    ),
    mutants=MUTANTS,
    gradients={"logits": oracle.ssd_confidence_loss_grad},
    practical_error=practical_error,
    practical_gradient_error=practical_gradient_error,
    summands=summands,
    rulings=(
        *RULINGS,
        Ruling("divisor", "The positives of the mini-batch, not positives and negatives; 1 where there are none."),
        Ruling("ignored", "Candidates of label -1 enter neither the sums nor the numbers."),
    ),
    not_applicable={
        Kind.LIMIT: "SSD-13 has the ratio without limit", Kind.CONSERVATION: "no quantity is shared out",
        Kind.BOUND: "the number of negatives is that of hard_negative_mining", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
