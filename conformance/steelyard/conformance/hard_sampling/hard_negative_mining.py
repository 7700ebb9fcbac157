"""Contract of online hard-negative mining: which candidates enter SSD's loss.

Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016 (arXiv 1512.02325), section 2.2.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
    Bench,
    any_axes_of_images,
    bad_option,
    bad_shape,
    batch_equals_per_image,
    padding,
    purity,
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
    Mutant,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.hard_sampling.mining_inputs import (
    CLASSES,
    FULL,
    Function,
    Masks,
    by_image,
    distinct_ranks,
    draw_labels,
    draw_shape,
    in_reverse,
    largest,
    only_the_first,
    reversed_candidates,
    whole_batch,
)
from steelyard.conformance.real_data import points_of_image
from steelyard.conformance.soft_sampling.focal_inputs import option
from steelyard.reference.hard_sampling import hard_negative_mining as oracle

PAPER = 'Liu et al., "SSD: Single Shot MultiBox Detector", ECCV 2016, arXiv 1512.02325'

# --- inputs ---------------------------------------------------------------------------------------------------


def mining_options(draw: Draw) -> dict[str, OptionValue]:
    """Whole ratios; fractions and least numbers have requirements of their own."""
    return {"negatives_per_positive": draw.choice((3.0, 1.0, 2.0, 0.0)), "min_negatives": 0}


def _case(draw: Draw, losses: Array, labels: Array) -> Case:
    options = {"num_classes": CLASSES, **mining_options(draw)}
    return Case({"losses": losses, "labels": labels}, options, draw.dtype())


def distinct_losses(draw: Draw) -> Case:
    """No two losses of an image equal."""
    shape = draw_shape(draw)
    return _case(draw, distinct_ranks(draw, shape) / 8.0, draw_labels(draw, shape))


def equal_losses(draw: Draw) -> Case:
    """Few different losses."""
    case = distinct_losses(draw)
    return case.with_arguments(losses=np.floor(case.arguments["losses"] * 8.0 / 4.0))


def fractional_ratio(draw: Draw) -> Case:
    """One to three positives, plenty of negatives, and a ratio that is not whole."""
    positives, shape = draw.integer(1, 3), (1, 12)
    labels = np.where(np.arange(shape[1]) < positives, 0, CLASSES).reshape(shape)
    case = _case(draw, distinct_ranks(draw, shape) / 8.0, labels)
    return case.with_options(negatives_per_positive=draw.choice((2.5, 0.5, 1.75)))


def with_a_least_number(draw: Draw) -> Case:
    """At least some negatives of each image."""
    return distinct_losses(draw).with_options(min_negatives=draw.choice((1, 2, 5)))


def short_of_candidates(draw: Draw) -> Case:
    """No positive, no negative, only ignored ones, or none at all."""
    shape = (draw.integer(1, 2), draw.choice((3, 1, 5, 0)))
    losses = np.broadcast_to(np.arange(shape[1]) / 8.0, shape).copy()
    return _case(draw, losses, np.full(shape, draw.choice((CLASSES, 0, -1))))


def infinite_losses(draw: Draw) -> Case:
    """One infinite loss in each image, wherever it falls."""
    case = distinct_losses(draw)
    losses = case.arguments["losses"].copy()
    losses[losses == losses.max(axis=-1, keepdims=True)] = np.inf
    return case.with_arguments(losses=losses)


def broken_losses_elsewhere(draw: Draw) -> Case:
    """NaN as the loss of every candidate that is not background."""
    case = distinct_losses(draw)
    background = case.arguments["labels"] == CLASSES
    return case.with_arguments(losses=np.where(background, case.arguments["losses"], np.nan))


def default_boxes(seed: int) -> Case:
    """Two images of SSD300's 8,732 default boxes, some in a hundred of them positive."""
    random = np.random.default_rng(seed)
    shape = (2, 8732)
    labels = np.where(random.random(shape) < 0.02, random.integers(0, CLASSES, shape), CLASSES)
    labels[random.random(shape) < 0.01] = -1
    losses = random.permuted(np.broadcast_to(np.arange(shape[1]), shape), axis=1) / 2.0**10
    options: dict[str, OptionValue] = {"num_classes": CLASSES, "negatives_per_positive": 3.0, "min_negatives": 0}
    return Case({"losses": losses, "labels": labels}, options, "float32", origin=f"scene {seed}")


def detector_scores(seed: int) -> Case:
    """The scores of a detector's 2,100 points on a photograph, of which many are equal float16 numbers."""
    image = points_of_image(seed)
    arguments = {"losses": image.scores[None], "labels": image.labels[None]}
    options: dict[str, OptionValue] = {"num_classes": 80, "negatives_per_positive": 3.0, "min_negatives": 0}
    return Case(arguments, options, "float32", origin=f"image {image.image_id}")


def _fewer_than_asked_for(case: Case) -> bool:
    labels = case.arguments["labels"]
    positives = ((labels >= 0) & (labels < CLASSES)).sum(axis=-1)
    return bool((option(case, "negatives_per_positive") * positives > (labels == CLASSES).sum(axis=-1)).any())


# --- laws -----------------------------------------------------------------------------------------------------


def sizes(bench: Bench, case: Case) -> None:
    """All positives, and the right number of negatives, all of them background."""
    positive, negative = (output.astype(bool) for output in bench.evaluate(case).outputs)
    wanted_positive, wanted_negative = bench.oracle(case)
    bench.expect(np.array_equal(positive, wanted_positive), "the positives are not those of the labels", case)
    spoilt = negative & (case.arguments["labels"] != CLASSES)
    bench.expect(not spoilt.any(), "a negative that is foreground or ignored", case)
    numbers, expected = negative.sum(axis=-1).tolist(), wanted_negative.sum(axis=-1).tolist()
    bench.expect(numbers == expected, f"{numbers} negatives of the images, expected {expected}", case)


def only_the_order_of_losses_counts(case: Case) -> Case:
    """Losses replaced by their squares, which keeps their order."""
    return case.with_arguments(losses=case.arguments["losses"] ** 2)


# --- mutants --------------------------------------------------------------------------------------------------


def _groups(labels: Array, num_classes: int) -> Masks:
    return (labels >= 0) & (labels < num_classes), labels == num_classes


def _wanted(positive: Array, o: dict[str, Any]) -> int:
    return max(math.floor(o["negatives_per_positive"] * int(positive.sum())), o["min_negatives"])


def _smallest(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, background = _groups(labels, o["num_classes"])
    return positive, largest(background, -losses, _wanted(positive, o))


def _rounded_up(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, background = _groups(labels, o["num_classes"])
    wanted = max(math.ceil(o["negatives_per_positive"] * int(positive.sum())), o["min_negatives"])
    return positive, largest(background, losses, wanted)


def _at_least_one_positive(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, background = _groups(labels, o["num_classes"])
    wanted = max(math.floor(o["negatives_per_positive"] * max(1, int(positive.sum()))), o["min_negatives"])
    return positive, largest(background, losses, wanted)


def _at_least_one_negative(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, background = _groups(labels, o["num_classes"])
    return positive, largest(background, losses, max(1, _wanted(positive, o)))


def _positives_fill_the_quota(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    """Positives at minus infinity in the ranking, and nothing that keeps them out of the first places."""
    positive, background = _groups(labels, o["num_classes"])
    ranked = np.where(positive, -np.inf, np.where(background, losses, -np.inf))
    return positive, largest(positive | background, ranked, _wanted(positive, o))


def _positives_compete(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, background = _groups(labels, o["num_classes"])
    losses = np.nan_to_num(losses, nan=0.0, posinf=np.inf)
    return positive, largest(positive | background, losses, _wanted(positive, o)) & background


def _indices_for_ranks(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    """One argsort where the rank needs two."""
    positive, background = _groups(labels, o["num_classes"])
    order = np.argsort(np.where(background, -losses, np.inf), kind="stable")
    return positive, background & (order < _wanted(positive, o))


def _ignored_is_background(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    labels = np.where(labels == -1, o["num_classes"], labels)
    positive, background = _groups(labels, o["num_classes"])
    return positive, largest(background, np.nan_to_num(losses, nan=0.0, posinf=np.inf), _wanted(positive, o))


def _ignored_counts_as_positive(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, background = _groups(labels, o["num_classes"])
    return positive, largest(background, losses, _wanted(labels != o["num_classes"], o))


def _last_of_equals(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, negative = oracle.hard_negative_mining(losses[::-1], labels[::-1], **o)
    return positive[::-1], negative[::-1]


def _infinity_is_nothing(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, background = _groups(labels, o["num_classes"])
    return positive, largest(background, np.nan_to_num(losses, nan=0.0, posinf=0.0), _wanted(positive, o))


def _nan_is_an_error(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    if np.isnan(losses).any():
        raise ValueError("NaN")
    return oracle.hard_negative_mining(losses, labels, **o)


def _without_a_least_number(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    """The least number holds only for images with a positive."""
    if not ((labels >= 0) & (labels < o["num_classes"])).any():
        o = {**o, "min_negatives": 0}
    return oracle.hard_negative_mining(losses, labels, **o)


_RIGHT = oracle.hard_negative_mining


def _of_images(choose: Function) -> Function:
    return by_image(choose, _RIGHT)


MUTANTS = (
    Mutant("hard-negatives/whole-batch", "one ratio for the whole batch", whole_batch(_RIGHT)),
    Mutant("hard-negatives/smallest", "the easiest negatives", _of_images(_smallest)),
    Mutant("hard-negatives/rounded-up", "a fraction of a negative counted as one", _of_images(_rounded_up),
           seen_in="torchvision, which compares ranks with the product"),
    Mutant("hard-negatives/at-least-one-positive", "negatives for an image without positives, as for one positive",
           _of_images(_at_least_one_positive), seen_in="monai's HardNegativeSampler"),
    Mutant("hard-negatives/at-least-one-negative", "one negative of an image without positives",
           _of_images(_at_least_one_negative)),
    Mutant("hard-negatives/positives-fill-the-quota", "positives as negatives where these are too few",
           _of_images(_positives_fill_the_quota), seen_in="torchvision, ssd.pytorch"),
    Mutant("hard-negatives/positives-compete", "places of negatives lost to positives with a larger loss",
           _of_images(_positives_compete)),
    Mutant("hard-negatives/indices-for-ranks", "sorted indices taken for ranks: one argsort instead of two",
           _of_images(_indices_for_ranks)),
    Mutant("hard-negatives/ignored-is-background", "ignored candidates as negatives",
           _of_images(_ignored_is_background)),
    Mutant("hard-negatives/ignored-counts", "ignored candidates counted as positives",
           _of_images(_ignored_counts_as_positive)),
    Mutant("hard-negatives/last-of-equals", "of equal losses the last candidate's", _of_images(_last_of_equals)),
    Mutant("hard-negatives/infinity-is-nothing", "infinite losses replaced by 0", _of_images(_infinity_is_nothing)),
    Mutant("hard-negatives/nan-is-an-error", "an error for a NaN that does not count", _of_images(_nan_is_an_error)),
    Mutant("hard-negatives/least-number-needs-a-positive", "no least number for images without positives",
           _of_images(_without_a_least_number)),
    Mutant("hard-negatives/zero-ratio-is-default", "a ratio of 0 taken as not given",
           mistakes.with_default_for_zero(_RIGHT, "negatives_per_positive", 3.0)),
    Mutant("hard-negatives/first-candidates-only", "candidates beyond the 4,096th left out",
           only_the_first(_RIGHT, "labels", 4096)),
    Mutant("hard-negatives/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "losses")),
    Mutant("hard-negatives/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT, negatives_per_positive=mistakes.at_least_0, min_negatives=lambda v: max(v, 0))),
    Mutant("hard-negatives/broadcast", "labels repeated for losses of another number of images",
           mistakes.broadcasting(_RIGHT, "labels", "losses")),
    Mutant("hard-negatives/raises-on-empty", "an error where there is no candidate",
           mistakes.failing_on_empty(_RIGHT, "losses")),
    Mutant("hard-negatives/one-axis-of-images", "images along two axes taken for those of the first",
           mistakes.images_along_one_axis(_RIGHT, "labels")),
)  # fmt: skip


# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by HN-1; kept because a failure then names the law that is broken"

RATIO = Option("negatives_per_positive", 3.0, "most negatives for each positive of an image")
LEAST = Option("min_negatives", 0, "least number of negatives of each image, where there are as many")
RULINGS = (
    Ruling("ratio", "The ratio holds for each image, and the product is cut to an integer: at most 3:1."),
    Ruling("no positives", "An image without positives has no negatives, unless a least number asks for some."),
    Ruling("too few", "Where there are fewer negatives than asked for, all are taken; positives never fill up."),
    Ruling("ties", "Of equal losses the first candidate's."),
)

HARD_NEGATIVE_MINING = Technique(
    id="hard_negative_mining",
    title="Online hard-negative mining (SSD)",
    family="hard_sampling",
    summary="All positives of an image and, for each of them, three background candidates: those of the largest loss.",
    sources=(f"{PAPER}, section 2.2",),
    oracle=oracle.hard_negative_mining,
    arguments=(
        Argument("losses", ("...", "N"), "float", "by which the background is ranked"),
        Argument("labels", ("...", "N"), "int", "0..C-1 foreground, C background, -1 ignore"),
    ),
    options=(Option("num_classes", 80, "C"), RATIO, LEAST),
    outputs=(
        Output("positive", ("...", "N"), "bool", "positives of the sample"),
        Output("negative", ("...", "N"), "bool", "negatives of the sample"),
    ),
    requirements=(
        Requirement("HN-1", Level.MUST, Kind.VALUE, "Of the background those of the largest loss are taken.",
                    "section 2.2", value, distinct_losses, scenes=(default_boxes,), dtypes=FULL,
                    reaches={"an ignored candidate": lambda c: bool((c.arguments["labels"] == -1).any()),
                             "fewer negatives than asked for": _fewer_than_asked_for}),
        Requirement("HN-2", Level.MUST, Kind.BOUND,
                    "An image with P positives and M background candidates has min(r P, M) negatives, all background.",
                    "section 2.2; ruling too few", sizes, distinct_losses, dtypes=FULL, no_mutant=_IMPLIED),
        Requirement("HN-3", Level.SHOULD, Kind.TIES, "Of equal losses the first candidate's counts.", "ruling ties",
                    value, equal_losses, scenes=(detector_scores,), dtypes=FULL),
        Requirement("HN-4", Level.SHOULD, Kind.TIES, "A ratio that is not whole is not exceeded.",
                    'section 2.2, "at most"; ruling ratio', value, fractional_ratio, dtypes=FULL, examples=0.3),
        Requirement("HN-5", Level.MUST, Kind.EMPTY,
                    "Images without positives, negatives or candidates give what there is.",
                    "rulings no positives, too few", value, short_of_candidates, dtypes=FULL, examples=0.5),
        Requirement("HN-6", Level.MUST, Kind.VALUE, "The least number holds for each image, also without positives.",
                    "ruling no positives", value, with_a_least_number, dtypes=FULL, examples=0.3,
                    options=("min_negatives",)),
        Requirement("HN-7", Level.MUST, Kind.BATCH, "The ratio holds for each image.", "ruling ratio",
                    batch_equals_per_image, distinct_losses, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("HN-8", Level.MUST, Kind.BATCH, "Ignored candidates at the end of an image change nothing.",
                    "padding", padding(1, labels=-1, losses=0.0), distinct_losses, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("HN-9", Level.MUST, Kind.INVARIANCE, "Reordering the candidates reorders the sample.",
                    "section 2.2", same_as(reversed_candidates, "sample of the reordered image", in_reverse),
                    distinct_losses, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("HN-10", Level.MUST, Kind.INVARIANCE, "Only the order of the losses counts.", "section 2.2",
                    same_as(only_the_order_of_losses_counts, "sample by squared losses"), distinct_losses,
                    dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("HN-11", Level.SHOULD, Kind.EXTREME, "An infinite loss ranks first.", "section 2.2", value,
                    infinite_losses, dtypes=FULL, examples=0.3),
        Requirement("HN-12", Level.MAY, Kind.EXTREME, "Losses of positives and ignored candidates may be NaN.",
                    "they are not ranked", value, broken_losses_elsewhere, dtypes=FULL, examples=0.3),
        Requirement("HN-13", Level.SHOULD, Kind.EXTREME, "Half precision ranks as it should.", "house rule", value,
                    distinct_losses, dtypes=("float16", "bfloat16"), examples=0.3,
                    no_mutant="ranking loses no precision; kept for candidates that cannot sort halves"),
        Requirement("HN-14", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, distinct_losses, dtypes=FULL, examples=0.3),
        Requirement("HN-15", Level.SHOULD, Kind.ERROR, "Labels of another shape than the losses' are refused.",
                    "house rule", refuses(bad_shape("labels")), distinct_losses, dtypes=FULL, examples=0.2),
        Requirement("HN-16", Level.MAY, Kind.ERROR, "A negative ratio and a negative least number are refused.",
                    "house rule", refuses(bad_option("negatives_per_positive", -1.0), bad_option("min_negatives", -1)),
                    distinct_losses, dtypes=FULL, examples=0.2),
        Requirement("HN-17", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, distinct_losses, dtypes=FULL, examples=0.2),
    ),
    mutants=MUTANTS,
    rulings=RULINGS,
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.REDUCES_TO: "HN-5 has the cases in which nothing is left to choose", Kind.LIMIT: "no limit",
        Kind.CONSERVATION: "HN-2 counts what is taken", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
