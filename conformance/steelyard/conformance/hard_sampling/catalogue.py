"""The contracts of the hard-sampling techniques, in the order in which they are listed."""

from __future__ import annotations

from steelyard.conformance.contract import Technique
from steelyard.conformance.hard_sampling.bootstrapping import MINE_FALSE_POSITIVES, MINE_RANDOM_FALSE_POSITIVES
from steelyard.conformance.hard_sampling.hard_negative_mining import HARD_NEGATIVE_MINING
from steelyard.conformance.hard_sampling.instance_balanced_sampling import INSTANCE_BALANCED_POSITIVES
from steelyard.conformance.hard_sampling.iou_balanced_sampling import IOU_BALANCED_NEGATIVES
from steelyard.conformance.hard_sampling.iou_lower_bound import IOU_LOWER_BOUND_SAMPLING, IOU_RANGE_LABELS
from steelyard.conformance.hard_sampling.limit_search_space import OBJECTNESS_FILTER, OBJECTNESS_FILTER_SCORES
from steelyard.conformance.hard_sampling.objectness_prior_sampling import OBJECTNESS_PRIOR_SAMPLING
from steelyard.conformance.hard_sampling.ohem import ONLINE_HARD_EXAMPLE_LOSS, ONLINE_HARD_EXAMPLE_MINING
from steelyard.conformance.hard_sampling.random_sampling import RANDOM_SAMPLING
from steelyard.conformance.hard_sampling.ssd_confidence_loss import SSD_CONFIDENCE_LOSS
from steelyard.conformance.hard_sampling.stratified_hard_example_mining import STRATIFIED_HARD_EXAMPLE_MINING

CONTRACTS: tuple[Technique, ...] = (
    RANDOM_SAMPLING,
    MINE_FALSE_POSITIVES,
    MINE_RANDOM_FALSE_POSITIVES,
    HARD_NEGATIVE_MINING,
    SSD_CONFIDENCE_LOSS,
    ONLINE_HARD_EXAMPLE_MINING,
    ONLINE_HARD_EXAMPLE_LOSS,
    STRATIFIED_HARD_EXAMPLE_MINING,
    IOU_RANGE_LABELS,
    IOU_LOWER_BOUND_SAMPLING,
    IOU_BALANCED_NEGATIVES,
    INSTANCE_BALANCED_POSITIVES,
    OBJECTNESS_FILTER,
    OBJECTNESS_FILTER_SCORES,
    OBJECTNESS_PRIOR_SAMPLING,
)
