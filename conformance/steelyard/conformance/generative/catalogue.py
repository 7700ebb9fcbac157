"""The contracts of the generative techniques, in the order in which they are listed."""

from __future__ import annotations

from steelyard.conformance.contract import Technique
from steelyard.conformance.generative.adversarial_dropout import (
    ADVERSARIAL_DROPOUT_MASK,
    DROPOUT_IS_REWARDED,
    DROPOUT_MASK_LOSS,
)
from steelyard.conformance.generative.box_generator import GENERATE_BOXES
from steelyard.conformance.generative.compositing import COMPOSITE
from steelyard.conformance.generative.hardest_window import (
    FEATURES_WITHOUT_WINDOWS,
    HARDEST_DROPOUT_WINDOW,
    HARDEST_WINDOW_OF_LINEAR_SCORE,
)
from steelyard.conformance.generative.instance_switching import SWITCH_ELIGIBILITY, SWITCH_INSTANCES
from steelyard.conformance.generative.positive_rois import INSTANCE_SLOTS, IOU_BIN_QUOTAS, REQUESTED_IOUS
from steelyard.conformance.generative.positive_rois_of_batches import GENERATE_POSITIVE_ROIS

CONTRACTS: tuple[Technique, ...] = (
    GENERATE_BOXES,
    INSTANCE_SLOTS,
    IOU_BIN_QUOTAS,
    REQUESTED_IOUS,
    GENERATE_POSITIVE_ROIS,
    FEATURES_WITHOUT_WINDOWS,
    HARDEST_DROPOUT_WINDOW,
    HARDEST_WINDOW_OF_LINEAR_SCORE,
    ADVERSARIAL_DROPOUT_MASK,
    DROPOUT_IS_REWARDED,
    DROPOUT_MASK_LOSS,
    SWITCH_ELIGIBILITY,
    SWITCH_INSTANCES,
    COMPOSITE,
)
