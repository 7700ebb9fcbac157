"""Contract of hard example mining with a quota for the positives: what mmdet's `OHEMSampler` does.

Everything but the order in which candidates are taken is that of random sampling, and so is the catalogue of mistakes.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
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
from steelyard.conformance.hard_sampling import random_sampling as samples
from steelyard.conformance.hard_sampling import random_sampling_mutants as wrong
from steelyard.conformance.hard_sampling.hard_negative_mining import only_the_order_of_losses_counts
from steelyard.conformance.hard_sampling.mining_inputs import (
    CLASSES,
    FULL,
    Function,
    Masks,
    by_image,
    distinct_ranks,
    in_reverse,
    largest,
    only_the_first,
    reversed_candidates,
    whole_batch,
)
from steelyard.conformance.hard_sampling.quickselect import quickselected
from steelyard.conformance.real_data import points_of_image
from steelyard.reference.hard_sampling import ohem as oracle

# --- inputs: those of random sampling, the smallest keys as the largest losses --------------------------------


def _ranked(case: Case) -> Case:
    losses = 1.0 - case.arguments["keys"]
    return Case({"losses": losses, "labels": case.arguments["labels"]}, case.options, case.dtype, origin=case.origin)


def distinct_losses(draw: Draw) -> Case:
    """One to three images of up to twelve candidates, no two losses of an image equal."""
    return _ranked(samples.distinct_keys(draw))


def equal_losses(draw: Draw) -> Case:
    """The same with few different losses."""
    return _ranked(samples.equal_keys(draw))


def few_positives(draw: Draw) -> Case:
    """One or two positives in an image, fewer than their quota, and more background than is asked for."""
    positives, shape = draw.choice((2, 1)), (1, 12)
    labels = np.where(np.arange(shape[1]) < positives, 0, CLASSES).reshape(shape)
    options: dict[str, OptionValue] = {
        "num_classes": CLASSES, "num_samples": draw.choice((10, 8)), "positive_fraction": draw.choice((0.25, 0.5)),
        "negatives_per_positive": None,
    }  # fmt: skip
    return Case({"losses": distinct_ranks(draw, shape) / 16.0, "labels": labels}, options, draw.dtype())


def short_of_candidates(draw: Draw) -> Case:
    """No positive, no negative, only ignored ones, or none at all."""
    return _ranked(samples.short_of_candidates(draw))


def rounded_quota(draw: Draw) -> Case:
    """Products of number and share that are whole in decimal and just below in binary, or end in one half."""
    return _ranked(samples.rounded_quota(draw))


def infinite_losses(draw: Draw) -> Case:
    """One infinite loss in each image, wherever it falls."""
    case = distinct_losses(draw)
    losses = case.arguments["losses"].copy()
    losses[..., draw.integer(0, losses.shape[1] - 1)] = np.inf
    return case.with_arguments(losses=losses)


def anchors(seed: int) -> Case:
    """Two images of 20,000 anchors with one positive in a thousand: a sample of 256."""
    return _ranked(samples.anchors(seed))


def tied_anchors(seed: int) -> Case:
    """1,000 anchors with losses of eight values: a sort of so many that is not stable shows."""
    return _ranked(samples.tied_anchors(seed))


def detector_scores(seed: int) -> Case:
    """The scores of a detector's 2,100 points on a photograph, of which many are equal float16 numbers."""
    image = points_of_image(seed)
    options: dict[str, OptionValue] = {
        "num_classes": 80, "num_samples": 256, "positive_fraction": 0.1, "negatives_per_positive": None,
    }  # fmt: skip
    arguments = {"losses": image.scores[None], "labels": image.labels[None]}
    return Case(arguments, options, "float32", origin=f"image {image.image_id}")


# --- mutants --------------------------------------------------------------------------------------------------

_RIGHT = oracle.stratified_hard_example_mining


def _by_rank(sample: Function) -> Function:
    """A sampler by keys, of one image, with ranks of losses as its keys."""

    def choose(losses: Array, labels: Array, **options: Any) -> Masks:  # noqa: ANN401
        order = np.argsort(-losses, kind="stable")
        keys = np.empty(losses.size)
        keys[order] = np.arange(losses.size) / max(1, losses.size)
        return sample(labels, keys, **options)

    return by_image(choose, _RIGHT)


def _negatives_by_ratio(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    """As many negatives as the share of positives asks for at the number that was found."""
    positive, background = (labels >= 0) & (labels < o["num_classes"]), labels == o["num_classes"]
    share = o["positive_fraction"]
    n_pos = min(int(positive.sum()), int(o["num_samples"] * share))
    n_neg = int(max(1, n_pos) * abs(1 - 1 / share)) if share else o["num_samples"]
    return largest(positive, losses, n_pos), largest(background, losses, n_neg)


def _divided_by_the_share(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    if o["positive_fraction"] == 0:
        raise ZeroDivisionError
    return _RIGHT(losses, labels, **o)


def _positives_as_they_come(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, negative = _RIGHT(losses, labels, **o)
    foreground = (labels >= 0) & (labels < o["num_classes"])
    return largest(foreground, np.zeros(losses.shape), int(positive.sum())), negative


def _negatives_as_they_come(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, negative = _RIGHT(losses, labels, **o)
    return positive, largest(labels == o["num_classes"], np.zeros(losses.shape), int(negative.sum()))


def _quickselected(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    foreground, background = (labels >= 0) & (labels < o["num_classes"]), labels == o["num_classes"]
    n_pos, n_neg = (int(mask.sum()) for mask in _RIGHT(losses, labels, **o))
    return quickselected(foreground, losses, n_pos), quickselected(background, losses, n_neg)


def _places_for_indices(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    """Positions in the list of positives taken for positions in the image."""
    positive, negative = _RIGHT(losses, labels, **o)
    members = np.flatnonzero((labels >= 0) & (labels < o["num_classes"]))
    wrong = np.zeros(labels.shape, bool)
    wrong[np.searchsorted(members, np.flatnonzero(positive))] = True
    return wrong, negative


def _at_least_one_negative(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    positive, negative = _RIGHT(losses, labels, **o)
    return positive, negative if negative.any() else largest(labels == o["num_classes"], losses, 1)


def _together(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    """The hardest of both groups together, without a quota."""
    foreground, background = (labels >= 0) & (labels < o["num_classes"]), labels == o["num_classes"]
    hardest = largest(foreground | background, losses, o["num_samples"])
    return foreground & hardest, background & hardest


def _infinity_is_nothing(losses: Array, labels: Array, **o: Any) -> Masks:  # noqa: ANN401
    return _RIGHT(np.where(np.isposinf(losses), 0.0, losses), labels, **o)


MUTANTS = (
    Mutant("stratified/negatives-by-ratio", "no negatives in the place of missing positives: 2 positives draw 6",
           by_image(_negatives_by_ratio, _RIGHT), seen_in="monai's HardNegativeSampler"),
    Mutant("stratified/divided-by-the-share", "an error where no positive is asked for: a division by their share",
           by_image(_divided_by_the_share, _RIGHT), seen_in="monai's HardNegativeSampler"),
    Mutant("stratified/positives-as-they-come", "the first positives instead of the hardest",
           by_image(_positives_as_they_come, _RIGHT)),
    Mutant("stratified/negatives-as-they-come", "the first negatives instead of the hardest",
           by_image(_negatives_as_they_come, _RIGHT)),
    Mutant("stratified/places-for-indices", "positions in the list of positives taken for positions in the image",
           by_image(_places_for_indices, _RIGHT), seen_in="a fork of A-Fast-RCNN"),
    Mutant("stratified/at-least-one-negative", "a negative although there is no place for one",
           by_image(_at_least_one_negative, _RIGHT), seen_in="a fork of A-Fast-RCNN"),
    Mutant("stratified/together", "the hardest of both groups together", by_image(_together, _RIGHT)),
    Mutant("stratified/infinity-is-nothing", "infinite losses replaced by 0",
           by_image(_infinity_is_nothing, _RIGHT)),
    Mutant("stratified/rounded-quota", "the quota of the positives rounded instead of cut", _by_rank(wrong.rounded)),
    Mutant("stratified/decimal-quota", "the quota as decimal arithmetic gives it", _by_rank(wrong.decimal_quota)),
    Mutant("stratified/no-fill-up", "no negatives in the place of missing positives", _by_rank(wrong.no_fill_up)),
    Mutant("stratified/positives-fill-up", "positives in the place of missing negatives",
           _by_rank(wrong.positives_fill_up)),
    Mutant("stratified/ignored-is-background", "ignored candidates taken as negatives",
           _by_rank(wrong.ignored_is_background)),
    Mutant("stratified/smallest", "the easiest candidates", _by_rank(wrong.largest_keys)),
    Mutant("stratified/no-negatives-without-positives", "no negatives where there is no positive to bound them by",
           _by_rank(wrong.without_negatives_no_bound)),
    Mutant("stratified/last-of-equals", "of equal losses the last candidate's",
           by_image(lambda losses, labels, **o: tuple(m[::-1] for m in _RIGHT(losses[::-1], labels[::-1], **o)),
                    _RIGHT)),
    Mutant("stratified/quickselect", "of equal losses those that a quickselect leaves in front",
           by_image(_quickselected, _RIGHT), seen_in="mmdet 3.3.0, torch.topk on a CPU"),
    Mutant("stratified/whole-batch", "one quota for the whole batch", whole_batch(_RIGHT)),
    Mutant("stratified/first-candidates-only", "candidates beyond the 16,384th left out",
           only_the_first(_RIGHT, "labels", 16_384)),
    Mutant("stratified/in-place", "its inputs overwritten", mistakes.overwriting(_RIGHT, "losses")),
    Mutant("stratified/unchecked", "no check of its options", mistakes.unchecked(
        _RIGHT, num_samples=lambda v: max(v, 1), positive_fraction=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("stratified/broadcast", "labels repeated for losses of another number of images",
           mistakes.broadcasting(_RIGHT, "labels", "losses")),
    Mutant("stratified/raises-on-empty", "an error where there is no candidate",
           mistakes.failing_on_empty(_RIGHT, "losses")),
    Mutant("stratified/one-axis-of-images", "images along two axes taken for those of the first",
           mistakes.images_along_one_axis(_RIGHT, "labels")),
)  # fmt: skip


# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by SH-1; kept because a failure then names the law that is broken"

STRATIFIED_HARD_EXAMPLE_MINING = Technique(
    id="stratified_hard_example_mining",
    title="Hard example mining with a quota for the positives",
    family="hard_sampling",
    summary="The hardest positives and the hardest negatives of an image, in the numbers of random sampling.",
    sources=("mmdet 3.3, OHEMSampler: a variant of online hard example mining (arXiv 1604.03540)",),
    oracle=_RIGHT,
    arguments=(
        Argument("losses", ("...", "N"), "float", "by which candidates are ranked"),
        Argument("labels", ("...", "N"), "int", "0..C-1 foreground, C background, -1 ignore"),
    ),
    options=(
        Option("num_classes", 80, "C"),
        Option("num_samples", 512, "size of the sample of one image"),
        Option("positive_fraction", 0.25, "largest share of positives"),
        Option("negatives_per_positive", None, "upper bound of the negatives for each positive; None: no bound"),
    ),
    outputs=(
        Output("positive", ("...", "N"), "bool", "positives of the sample"),
        Output("negative", ("...", "N"), "bool", "negatives of the sample"),
    ),
    requirements=(
        Requirement("SH-1", Level.MUST, Kind.VALUE, "Of each group the candidates of the largest loss are taken.",
                    "OHEMSampler", value, distinct_losses, scenes=(anchors,), dtypes=FULL,
                    reaches={"an ignored candidate": lambda c: bool((c.arguments["labels"] == -1).any()),
                             "a bound of negatives": lambda c: c.options["negatives_per_positive"] is not None}),
        Requirement("SH-2", Level.MUST, Kind.BOUND,
                    "The numbers are min(P, quota) and min(M, rest), every candidate from its own group.",
                    "OHEMSampler", samples.sizes, distinct_losses, dtypes=FULL, examples=0.5, no_mutant=_IMPLIED),
        Requirement("SH-3", Level.MUST, Kind.VALUE, "Negatives take the places that positives leave free.",
                    "OHEMSampler", value, few_positives, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("SH-4", Level.SHOULD, Kind.TIES, "Of equal losses the first candidate's counts.", "ruling ties",
                    value, equal_losses, scenes=(detector_scores, tied_anchors), dtypes=FULL, examples=0.5),
        Requirement("SH-5", Level.MUST, Kind.TIES, "The quota is the product in float64, cut to an integer.",
                    "ruling quota of random sampling", samples.sizes, rounded_quota, dtypes=("float64",),
                    examples=0.2),
        Requirement("SH-6", Level.MUST, Kind.EMPTY,
                    "Images without positives, negatives or candidates give what there is.", "OHEMSampler",
                    samples.sizes, short_of_candidates, dtypes=FULL, examples=0.5),
        Requirement("SH-7", Level.SHOULD, Kind.EXTREME, "An infinite loss ranks first.", "OHEMSampler", value,
                    infinite_losses, dtypes=FULL, examples=0.3),
        Requirement("SH-8", Level.MUST, Kind.BATCH, "The quota holds for each image.", "OHEMSampler",
                    batch_equals_per_image, distinct_losses, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("SH-9", Level.MUST, Kind.BATCH, "Ignored candidates at the end of an image change nothing.",
                    "padding", padding(1, labels=-1, losses=0.0), distinct_losses, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("SH-10", Level.MUST, Kind.INVARIANCE, "Reordering the candidates reorders the sample.",
                    "OHEMSampler", same_as(reversed_candidates, "sample of the reordered image", in_reverse),
                    distinct_losses, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("SH-11", Level.MUST, Kind.INVARIANCE, "Only the order of the losses counts.", "OHEMSampler",
                    same_as(only_the_order_of_losses_counts, "sample by squared losses"), distinct_losses,
                    dtypes=("float64",), examples=0.3, no_mutant=_IMPLIED),
        Requirement("SH-12", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, distinct_losses, dtypes=FULL, examples=0.3),
        Requirement("SH-13", Level.SHOULD, Kind.ERROR, "Labels of another number of images are refused.",
                    "house rule", refuses(bad_shape("labels")), distinct_losses, dtypes=FULL, examples=0.2),
        Requirement("SH-14", Level.MAY, Kind.ERROR, "A sample of 0, and a share outside [0, 1], are refused.",
                    "house rule", refuses(bad_option("num_samples", 0), bad_option("positive_fraction", 1.5)),
                    distinct_losses, dtypes=FULL, examples=0.2),
        Requirement("SH-15", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, distinct_losses, dtypes=FULL, examples=0.2),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("numbers", "Those of random sampling, with its rulings on the quota and on shortages."),
        Ruling("ties", "Of equal losses the first candidate's."),
    ),
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.REDUCES_TO: "SH-6 has the cases in which nothing is left to choose", Kind.LIMIT: "no limit",
        Kind.CONSERVATION: "SH-2 counts what is taken", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
