"""The contracts of the soft-sampling techniques, in the order in which they are listed."""

from __future__ import annotations

from steelyard.conformance.contract import Technique
from steelyard.conformance.soft_sampling.carl_loss import (
    CLASSIFICATION_AWARE_REGRESSION_LOSS,
    CLASSIFICATION_AWARE_REGRESSION_WEIGHTS,
)
from steelyard.conformance.soft_sampling.distances_of_boxes import BOXES_FROM_DISTANCES, DISTANCES_FROM_BOXES
from steelyard.conformance.soft_sampling.distribution_focal_loss import (
    DISTRIBUTION_EXPECTATION,
    DISTRIBUTION_FOCAL_LOSS,
)
from steelyard.conformance.soft_sampling.focal_loss import SIGMOID_FOCAL_LOSS, SIGMOID_FOCAL_LOSS_WITH_LABELS
from steelyard.conformance.soft_sampling.focal_loss_star import FOCAL_LOSS_STAR
from steelyard.conformance.soft_sampling.focal_normalisers import MOVING_AVERAGE_FOREGROUND, NORMALISE_FOCAL_LOSS
from steelyard.conformance.soft_sampling.generalized_focal_detection import GENERALIZED_FOCAL_DETECTION_LOSS
from steelyard.conformance.soft_sampling.generalized_focal_loss import GENERALIZED_FOCAL_LOSS
from steelyard.conformance.soft_sampling.ghm import (
    EXACT_GHM_CLASSIFICATION_LOSS,
    GHM_CLASSIFICATION_LOSS,
    GHM_CLASSIFICATION_LOSS_WITH_LABELS,
)
from steelyard.conformance.soft_sampling.ghm_classification_sum import GHM_CLASSIFICATION_SUM
from steelyard.conformance.soft_sampling.ghm_regression import (
    AUTHENTIC_SMOOTH_L1_LOSS,
    EXACT_GHM_REGRESSION_LOSS,
    GHM_REGRESSION_LOSS,
)
from steelyard.conformance.soft_sampling.gradient_density import (
    GRADIENT_DENSITY,
    HARMONIZING_WEIGHTS,
    UNIT_REGION_WEIGHTS,
)
from steelyard.conformance.soft_sampling.pisa import IOU_HIERARCHICAL_LOCAL_RANK, ISR_P_WEIGHTS
from steelyard.conformance.soft_sampling.pisa_negative_weights import ISR_N_WEIGHTS
from steelyard.conformance.soft_sampling.pisa_negatives import NMS_MATCH, SCORE_HIERARCHICAL_LOCAL_RANK
from steelyard.conformance.soft_sampling.prior_probability import (
    PRIOR_PROBABILITY_BIAS,
    SOFTMAX_PRIOR_PROBABILITY_BIAS,
)
from steelyard.conformance.soft_sampling.quality_focal_loss import QUALITY_FOCAL_LOSS, QUALITY_FOCAL_LOSS_WITH_LABELS
from steelyard.conformance.soft_sampling.softmax_focal_loss import SOFTMAX_FOCAL_LOSS
from steelyard.conformance.soft_sampling.unit_regions import (
    MOVING_AVERAGE_COUNTS,
    UNIT_REGION_COUNTS,
    UNIT_REGION_INDEX,
)
from steelyard.conformance.soft_sampling.varifocal_loss import VARIFOCAL_LOSS, VARIFOCAL_LOSS_WITH_LABELS

CONTRACTS: tuple[Technique, ...] = (
    SIGMOID_FOCAL_LOSS,
    SIGMOID_FOCAL_LOSS_WITH_LABELS,
    SOFTMAX_FOCAL_LOSS,
    FOCAL_LOSS_STAR,
    NORMALISE_FOCAL_LOSS,
    MOVING_AVERAGE_FOREGROUND,
    PRIOR_PROBABILITY_BIAS,
    SOFTMAX_PRIOR_PROBABILITY_BIAS,
    QUALITY_FOCAL_LOSS,
    QUALITY_FOCAL_LOSS_WITH_LABELS,
    DISTRIBUTION_FOCAL_LOSS,
    DISTRIBUTION_EXPECTATION,
    GENERALIZED_FOCAL_LOSS,
    GENERALIZED_FOCAL_DETECTION_LOSS,
    VARIFOCAL_LOSS,
    VARIFOCAL_LOSS_WITH_LABELS,
    DISTANCES_FROM_BOXES,
    BOXES_FROM_DISTANCES,
    GRADIENT_DENSITY,
    HARMONIZING_WEIGHTS,
    UNIT_REGION_INDEX,
    UNIT_REGION_COUNTS,
    MOVING_AVERAGE_COUNTS,
    UNIT_REGION_WEIGHTS,
    GHM_CLASSIFICATION_LOSS,
    GHM_CLASSIFICATION_LOSS_WITH_LABELS,
    EXACT_GHM_CLASSIFICATION_LOSS,
    GHM_CLASSIFICATION_SUM,
    AUTHENTIC_SMOOTH_L1_LOSS,
    GHM_REGRESSION_LOSS,
    EXACT_GHM_REGRESSION_LOSS,
    IOU_HIERARCHICAL_LOCAL_RANK,
    ISR_P_WEIGHTS,
    NMS_MATCH,
    SCORE_HIERARCHICAL_LOCAL_RANK,
    ISR_N_WEIGHTS,
    CLASSIFICATION_AWARE_REGRESSION_WEIGHTS,
    CLASSIFICATION_AWARE_REGRESSION_LOSS,
)
