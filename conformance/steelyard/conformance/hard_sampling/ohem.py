"""Contracts of online hard example mining: the RoIs that are learnt from, and their mean loss.

Shrivastava, Gupta & Girshick, "Training Region-based Object Detectors with Online Hard Example Mining", CVPR 2016
(arXiv 1604.03540), section 4.
"""

from __future__ import annotations

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    any_axes_of_images,
    bad_option,
    bad_shape,
    batch_equals_per_image,
    gradient,
    padding,
    purity,
    reduces_to,
    refuses,
    same_as,
    value,
)
from steelyard.conformance.contract import (
    Array,
    Case,
    Kind,
    Level,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.hard_sampling.mining_inputs import FULL, in_reverse, reversed_candidates
from steelyard.conformance.hard_sampling.ohem_inputs import (
    ARGUMENTS,
    DIALECTS,
    OPTIONS,
    PAPER,
    RULINGS,
    broken_losses_elsewhere,
    detector_proposals,
    equal_losses,
    infinite_losses,
    many_rois,
    on_the_threshold,
    overlapping,
    rois,
    short_of_rois,
    without_suppression,
)
from steelyard.conformance.hard_sampling.ohem_mutants import LOSS_MUTANTS, MUTANTS
from steelyard.conformance.soft_sampling.focal_inputs import HALF, option
from steelyard.reference.detection.box_overlaps import pairwise_iou
from steelyard.reference.hard_sampling import ohem as oracle

# --- laws of the choice ---------------------------------------------------------------------------------------


def selected_rois_lie_apart(bench: Bench, case: Case) -> None:
    """At most as many as asked for, none ignored, and no two that should suppress each other."""
    apart = case.options["labels_apart"] if bench.dialect is None else bench.dialect.options["labels_apart"]
    labels = case.arguments["labels"]
    selected = bench.evaluate(case).outputs[0].astype(bool)
    bench.expect(not (selected & (labels == -1)).any(), "an ignored RoI is selected", case)
    most = int(selected.sum(axis=-1).max(initial=0))
    bench.expect(most <= option(case, "num_samples"), f"{most} RoIs of an image selected", case)
    for image in range(len(labels)):
        box = case.arguments["boxes"][image]
        rivals = np.triu(pairwise_iou(box, box), 1) > option(case, "iou_threshold")
        if apart:
            rivals &= labels[image][:, None] == labels[image]
        both = rivals & selected[image] & selected[image][:, None]
        bench.expect(not both.any(), "two RoIs that overlap are both selected", case)


def larger_losses(case: Case) -> Case:
    """All losses four times as large: the same order."""
    return case.with_arguments(
        classification_losses=4.0 * case.arguments["classification_losses"],
        regression_losses=4.0 * case.arguments["regression_losses"],
    )


# --- laws of the loss -----------------------------------------------------------------------------------------


def _total(case: Case) -> Array:
    labels, classes = case.arguments["labels"], option(case, "num_classes")
    losses = case.arguments["classification_losses"]
    return np.asarray(losses + np.where(labels < classes, case.arguments["regression_losses"], 0.0))


def _selected(case: Case) -> Array:
    return oracle.online_hard_example_mining(**case.arguments, **case.options)  # type: ignore[arg-type]


def summands(case: Case) -> tuple[int, Array]:
    """The losses of the selected RoIs."""
    selected = _selected(case)
    number = int(selected.sum())
    return number, np.asarray(np.abs(_total(case)[selected]).sum() / max(1, number))


def mean_of_all(case: Case) -> Array:
    """Over all RoIs that are not ignored."""
    counted = case.arguments["labels"] != -1
    return np.asarray(_total(case)[counted].sum() / max(1, counted.sum()))


def room_for_all(draw: Draw) -> Case:
    """As many samples as RoIs."""
    return without_suppression(draw).with_options(num_samples=9)


def only_the_selected_learn(bench: Bench, case: Case) -> None:
    """Exactly 0 for every RoI that is not selected."""
    answer = bench.evaluate(case, ("classification_losses",))
    wanted = bench.technique.evaluate_gradient("classification_losses", case, bench.dialect)
    leak = answer.gradients["classification_losses"][wanted == 0]
    bench.expect(not leak.any(), "gradient at a RoI that is not selected", case)


def large_sums(draw: Draw) -> Case:
    """Losses above 32,768, of which float16 no longer holds the sum of two."""
    case = room_for_all(draw)
    return case.with_arguments(
        classification_losses=32768.0 + case.arguments["classification_losses"] * 4096.0,
        regression_losses=case.arguments["regression_losses"] * 0.0,
    )


# --- contracts ------------------------------------------------------------------------------------------------

_IMPLIED = "implied by OH-1; kept because a failure then names the law that is broken"
_PADDED = padding(1, labels=-1, boxes=0.0, classification_losses=0.0, regression_losses=0.0)
_REFUSED = refuses(bad_option("num_samples", 0), bad_option("iou_threshold", 1.5))

ONLINE_HARD_EXAMPLE_MINING = Technique(
    id="online_hard_example_mining",
    title="Online hard example mining (OHEM)",
    family="hard_sampling",
    summary="Of all RoIs of an image those of the largest loss, near-duplicates suppressed.",
    sources=(f"{PAPER}, section 4.1",),
    oracle=oracle.online_hard_example_mining,
    arguments=ARGUMENTS,
    options=OPTIONS,
    outputs=(Output("selected", ("...", "R"), "bool", "RoIs that are learnt from"),),
    requirements=(
        Requirement("OH-1", Level.MUST, Kind.VALUE,
                    "RoIs are suppressed by harder ones, and of the rest the hardest are taken.", "section 4.1",
                    value, rois, scenes=(many_rois,), dtypes=FULL,
                    reaches={"RoIs that overlap": overlapping,
                             "an ignored RoI": lambda c: bool((c.arguments["labels"] == -1).any())}),
        Requirement("OH-2", Level.MUST, Kind.REDUCES_TO, "Without suppression they are the hardest of all.",
                    "section 4.1", value, without_suppression, dtypes=FULL, examples=0.5, no_mutant=_IMPLIED),
        Requirement("OH-3", Level.MUST, Kind.BOUND,
                    "No more than asked for, none ignored, no two that should suppress each other.", "section 4.1",
                    selected_rois_lie_apart, rois, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OH-4", Level.MUST, Kind.TIES, "An IoU at the threshold does not suppress.", "ruling strict",
                    value, on_the_threshold, dtypes=FULL, examples=0.5),
        Requirement("OH-5", Level.SHOULD, Kind.TIES, "Of equal losses the first RoI's counts.", "ruling ties",
                    value, equal_losses, scenes=(detector_proposals,), dtypes=FULL, examples=0.5),
        Requirement("OH-6", Level.MUST, Kind.EMPTY, "No RoI, ignored ones only, or fewer than asked for.",
                    "ruling too few", value, short_of_rois, dtypes=FULL, examples=0.5),
        Requirement("OH-7", Level.SHOULD, Kind.EXTREME, "An infinite loss ranks first.", "section 4.1", value,
                    infinite_losses, dtypes=FULL, examples=0.5),
        Requirement("OH-8", Level.MAY, Kind.EXTREME, "Losses that do not count may be NaN.", "they are not ranked",
                    value, broken_losses_elsewhere, dtypes=FULL, examples=0.3),
        Requirement("OH-9", Level.MUST, Kind.BATCH, "The number holds for each image.", "ruling per image",
                    batch_equals_per_image, rois, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OH-10", Level.MUST, Kind.BATCH, "Ignored RoIs at the end of an image change nothing.", "padding",
                    _PADDED, rois, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED),
        Requirement("OH-11", Level.MUST, Kind.INVARIANCE, "Reordering the RoIs reorders the choice.", "section 4.1",
                    same_as(reversed_candidates, "choice of the reordered image", in_reverse), rois, dtypes=FULL,
                    examples=0.3, no_mutant=_IMPLIED),
        Requirement("OH-12", Level.MUST, Kind.INVARIANCE, "Only the order of the losses counts.", "section 4.1",
                    same_as(larger_losses, "choice by larger losses"), rois, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED),
        Requirement("OH-13", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, rois, dtypes=FULL, examples=0.3),
        Requirement("OH-14", Level.SHOULD, Kind.ERROR, "Labels of another number of images are refused.",
                    "house rule", refuses(bad_shape("labels")), rois, dtypes=FULL, examples=0.2),
        Requirement("OH-15", Level.MAY, Kind.ERROR, "A sample of 0 and a threshold above 1 are refused.",
                    "house rule", _REFUSED, rois, dtypes=FULL, examples=0.2),
        Requirement("OH-16", Level.SHOULD, Kind.BATCH, "Images lie along any number of axes, or along none.",
                    "shape (..., N)", any_axes_of_images, rois, dtypes=FULL, examples=0.2),
    ),
    mutants=MUTANTS,
    dialects=DIALECTS,
    rulings=RULINGS,
    not_applicable={
        Kind.GRADIENT: "a choice has no gradient", Kind.DETACHED: "a choice has no gradient",
        Kind.LIMIT: "OH-2 has the end of suppression", Kind.CONSERVATION: "OH-3 counts what is taken",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip

_LOSS_IMPLIED = "implied by OHL-1; kept because a failure then names the law that is broken"

ONLINE_HARD_EXAMPLE_LOSS = Technique(
    id="online_hard_example_loss",
    title="Loss of online hard example mining (OHEM)",
    family="hard_sampling",
    summary="Mean loss of the RoIs that online hard example mining selects; nothing else is learnt from.",
    sources=(f"{PAPER}, section 4.1",),
    oracle=oracle.online_hard_example_loss,
    arguments=ARGUMENTS,
    options=OPTIONS,
    outputs=(Output("loss", (), "float", "loss of the mini-batch"),),
    requirements=(
        Requirement("OHL-1", Level.MUST, Kind.VALUE, "The mean loss of the selected RoIs.", "section 4.1", value, rois,
                    scenes=(many_rois, detector_proposals), dtypes=FULL,
                    reaches={"several images": lambda c: len(c.arguments["labels"]) > 1,
                             "RoIs that overlap": overlapping}),
        Requirement("OHL-2", Level.MUST, Kind.GRADIENT, "1/n by the classification loss of a selected RoI.",
                    "section 4.1", gradient("classification_losses"), rois, dtypes=FULL, needs_gradient=True,
                    no_mutant="a gradient that is wrong anywhere is wrong for OHL-4 or OHL-5 too"),
        Requirement("OHL-3", Level.MUST, Kind.GRADIENT, "1/n by the regression loss of a selected foreground RoI.",
                    "section 4.1", gradient("regression_losses"), rois, dtypes=FULL, needs_gradient=True,
                    no_mutant="mutants have one gradient, that by the classification losses"),
        Requirement("OHL-4", Level.MUST, Kind.DETACHED, "A RoI that is not selected gets no gradient.",
                    "section 4.1", only_the_selected_learn, rois, dtypes=FULL, needs_gradient=True, examples=0.3,
                    no_mutant="implied by OHL-2; kept because a failure then names the law that is broken"),
        Requirement("OHL-5", Level.MUST, Kind.CONSERVATION, "The gradient sums to 1 where anything is selected.",
                    "section 4.1", gradient("classification_losses"), room_for_all, dtypes=FULL, needs_gradient=True,
                    examples=0.3, no_mutant="implied by OHL-2; kept because a failure then names the law"),
        Requirement("OHL-6", Level.MUST, Kind.REDUCES_TO,
                    "Without suppression and with room for all it is the mean of all RoIs.", "section 4.1",
                    reduces_to(mean_of_all), room_for_all, dtypes=FULL, examples=0.3, no_mutant=_LOSS_IMPLIED),
        Requirement("OHL-7", Level.MUST, Kind.TIES, "An IoU at the threshold does not suppress.", "ruling strict",
                    value, on_the_threshold, dtypes=FULL, examples=0.3, no_mutant="OH-4 has the mutant"),
        Requirement("OHL-8", Level.MUST, Kind.EMPTY, "Where nothing is selected the loss is 0; where little, its mean.",
                    "rulings divisor, too few", value, short_of_rois, dtypes=FULL, examples=0.5),
        Requirement("OHL-9", Level.SHOULD, Kind.EXTREME, "Half precision is summed without loss of range.",
                    "house rule", value, large_sums, dtypes=HALF, examples=0.3),
        Requirement("OHL-10", Level.MUST, Kind.BATCH, "Ignored RoIs at the end of an image change nothing.",
                    "padding", _PADDED, rois, dtypes=FULL, examples=0.3, no_mutant=_LOSS_IMPLIED),
        Requirement("OHL-11", Level.MUST, Kind.INVARIANCE, "The order of the RoIs means nothing.", "section 4.1",
                    same_as(reversed_candidates, "loss of the reordered images"), rois, dtypes=FULL, examples=0.3,
                    no_mutant=_LOSS_IMPLIED),
        Requirement("OHL-12", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, rois, dtypes=FULL, examples=0.3),
        Requirement("OHL-13", Level.SHOULD, Kind.ERROR, "Labels of another number of images are refused.",
                    "house rule", refuses(bad_shape("labels")), rois, dtypes=FULL, examples=0.2),
        Requirement("OHL-14", Level.MAY, Kind.ERROR, "A sample of 0 and a threshold above 1 are refused.",
                    "house rule", _REFUSED, rois, dtypes=FULL, examples=0.2),
    ),
    mutants=LOSS_MUTANTS,
    gradients={"classification_losses": oracle.online_hard_example_loss_grad_classification_losses,
               "regression_losses": oracle.online_hard_example_loss_grad_regression_losses},
    summands=summands,
    dialects=DIALECTS,
    rulings=(
        *RULINGS,
        Ruling("divisor", "The true number of selected RoIs of the mini-batch; 1 where there are none."),
    ),
    not_applicable={
        Kind.LIMIT: "OHL-6 has the end of mining", Kind.BOUND: "the number is that of the choice",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
