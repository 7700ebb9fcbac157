"""Contracts of GHM-C: with unit regions, from class labels, and with the exact density.

Li, Liu, Wang, "Gradient Harmonized Single-stage Detector", AAAI 2019 (arXiv 1811.05181), equations 3 to 13, and
the authors' code, which differs twice (dialects).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from steelyard.conformance.checking import Bench, float_format, same_as
from steelyard.conformance.contract import (
    Argument,
    Case,
    Kind,
    Level,
    Output,
    Requirement,
    Technique,
)
from steelyard.conformance.soft_sampling.focal_inputs import FULL
from steelyard.conformance.soft_sampling.ghm_classification_inputs import (
    BY_LABELS,
    BY_TARGETS,
    EXACT,
    elements_of,
    elements_of_labels,
    exact,
    labelled,
    mirrored,
    ordinary,
)
from steelyard.conformance.soft_sampling.ghm_inputs import (
    GHM_CODE,
    GHM_PAPER,
)
from steelyard.conformance.soft_sampling.ghm_laws import (
    AVERAGE,
    CONSTANT,
    DIALECTS,
    EDGES,
    EPSILON_OPTION,
    HALVES,
    IMPLIED,
    NO_EXAMPLE,
    NOT_A_NUMBER,
    NOT_VALID,
    ONE_HISTOGRAM,
    REDUCTION_OPTION,
    REGION_OPTIONS,
    STATE,
    TERMS,
    TWO_NORMS,
    bounds_of,
    practical_errors,
    summands_of,
)
from steelyard.conformance.soft_sampling.ghm_mutants import EXACT_MUTANTS, LABEL_MUTANTS, MUTANTS
from steelyard.conformance.soft_sampling.ghm_requirements import (
    further_region_requirements,
    further_window_requirements,
    region_requirements,
    region_twice,
    window_requirements,
)
from steelyard.reference.soft_sampling import ghm as oracle

# --- unit regions ----------------------------------------------------------------------------------------------


_LOGITS = Argument("logits", ("...",), "float", "scores before the sigmoid", differentiable=True)
_TARGETS = Argument("targets", ("...",), "int", "0 or 1")
_VALID = Argument("valid", ("...",), "bool", "which elements are examples")
_STATE = Argument("state", ("M",), "float", "moving average of the counts before this call, zeros at the start")
_RULINGS = (TWO_NORMS, EDGES, AVERAGE, NOT_A_NUMBER, NO_EXAMPLE, NOT_VALID, ONE_HISTOGRAM, CONSTANT, TERMS, HALVES)
_ERRORS = practical_errors(elements_of)

GHM_CLASSIFICATION_LOSS = Technique(
    id="ghm_classification_loss",
    title="GHM classification loss",
    family="soft_sampling",
    summary="Cross entropy weighted inversely to the number of examples of similar gradient norm, in unit regions.",
    sources=(GHM_PAPER + ", equations 3 to 13", GHM_CODE),
    oracle=oracle.ghm_classification_loss,
    gradients={"logits": oracle.ghm_classification_loss_grad},
    arguments=(_LOGITS, _TARGETS, _VALID, _STATE),
    options=(*REGION_OPTIONS, REDUCTION_OPTION),
    outputs=(Output("loss", (), "float", "the loss, or its terms (...)"), STATE),
    practical_error=_ERRORS[0],
    practical_gradient_error=_ERRORS[1],
    summands=summands_of(oracle.ghm_classification_loss, elements_of),
    dialects=DIALECTS,
    requirements=(
        *region_requirements("GHMC", BY_TARGETS),
        region_twice("GHMC-26", "GHMC-1", BY_TARGETS),
        Requirement("GHMC-27", Level.MUST, Kind.INVARIANCE, "GHM-C(x, y) is GHM-C(-x, 1 - y).", "equation 3",
                    same_as(mirrored, "value of the mirrored case"), ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("GHMC-1")),
        *further_region_requirements("GHMC", 28, BY_TARGETS, "valid", "state"),
    ),
    mutants=MUTANTS,
    rulings=_RULINGS,
    not_applicable={Kind.DISTRIBUTION: "not random"},
)  # fmt: skip


def loss_of_targets(bench: Bench, case: Case) -> None:
    """Equal to the form by targets, ignored anchors not valid."""
    answer = bench.evaluate(case)
    logits, label = case.arguments["logits"], case.arguments["labels"][..., None]
    targets, valid = label == np.arange(logits.shape[-1]), np.broadcast_to(label != -1, logits.shape)
    dialect = {} if bench.dialect is None else bench.dialect.options
    options = {**case.options, **dialect}
    expected = oracle.ghm_classification_loss(logits, targets, valid, case.arguments["state"], **options).loss  # type: ignore[arg-type]
    dtype = float_format(answer.dtypes[0], case)
    bench.expect_close(case, answer.outputs[0], np.asarray(expected), bounds_of(bench, case, dtype), dtype, "value")


_LABEL_ERRORS = practical_errors(elements_of_labels)

GHM_CLASSIFICATION_LOSS_WITH_LABELS = replace(
    GHM_CLASSIFICATION_LOSS,
    id="ghm_classification_loss_with_labels",
    title="GHM classification loss from class labels",
    summary="The GHM classification loss of anchors with one class id each, background or ignored.",
    oracle=oracle.ghm_classification_loss_with_labels,
    gradients={"logits": oracle.ghm_classification_loss_with_labels_grad},
    arguments=(
        replace(_LOGITS, shape=("...", "C")),
        Argument("labels", ("...",), "int", "0..C-1 foreground, C background, -1 ignore"),
        _STATE,
    ),
    practical_error=_LABEL_ERRORS[0],
    practical_gradient_error=_LABEL_ERRORS[1],
    summands=summands_of(oracle.ghm_classification_loss_with_labels, elements_of_labels),
    requirements=(
        *region_requirements("GHML", BY_LABELS),
        Requirement("GHML-26", Level.MUST, Kind.REDUCES_TO,
                    "It is the form by targets: background is negative in all channels, ignored in none an example.",
                    "equation 8", loss_of_targets, labelled, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("GHML-1")),
        *further_region_requirements("GHML", 27, BY_LABELS, "state",
                                     no_mutant="GHML-2 has photographs in thirty regions"),
    ),
    mutants=LABEL_MUTANTS,
)  # fmt: skip


_EXACT_ERRORS = practical_errors(elements_of, exact=True)

EXACT_GHM_CLASSIFICATION_LOSS = Technique(
    id="exact_ghm_classification_loss",
    title="GHM classification loss with the exact density",
    family="soft_sampling",
    summary="Cross entropy by the density of examples around an example's gradient norm.",
    sources=(GHM_PAPER + ", equations 3 to 8",),
    oracle=oracle.exact_ghm_classification_loss,
    gradients={"logits": oracle.exact_ghm_classification_loss_grad},
    arguments=(_LOGITS, _TARGETS, _VALID),
    options=(EPSILON_OPTION, REDUCTION_OPTION),
    outputs=(Output("loss", (), "float", "the loss, or its terms (...)"),),
    practical_error=_EXACT_ERRORS[0],
    practical_gradient_error=_EXACT_ERRORS[1],
    summands=summands_of(oracle.exact_ghm_classification_loss, elements_of),
    requirements=(
        *window_requirements("GHMX", EXACT),
        Requirement("GHMX-21", Level.MUST, Kind.INVARIANCE, "The loss of (x, y) is that of (-x, 1 - y).",
                    "equation 3", same_as(mirrored, "value of the mirrored case"), exact, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format("GHMX-1")),
        *further_window_requirements("GHMX", 22, EXACT),
    ),
    mutants=EXACT_MUTANTS,
    rulings=(NOT_A_NUMBER, NO_EXAMPLE, NOT_VALID, ONE_HISTOGRAM, CONSTANT, TERMS, HALVES),
    not_applicable={
        Kind.DETACHED: "GHMX-2 sees a window's length that is differentiated; counts are integers",
        Kind.LIMIT: "GHMX-5 is the limit of long windows",
        Kind.CONSERVATION: "windows overlap, so nothing is conserved",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
