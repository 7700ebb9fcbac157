"""The contracts of the detection techniques, in the order in which they are listed."""

from __future__ import annotations

from steelyard.conformance.contract import Technique
from steelyard.conformance.detection.anchor_census import (
    RESIZED_IMAGE_SIZE,
    RETINANET_ANCHOR_CENSUS,
)
from steelyard.conformance.detection.anchor_designs import FASTER_RCNN_ANCHORS, RETINANET_ANCHORS
from steelyard.conformance.detection.anchors import CELL_ANCHORS, GRID_ANCHORS, GRID_POINTS, INSIDE_IMAGE
from steelyard.conformance.detection.assignment import MAX_IOU_ASSIGNMENT, MAX_IOU_MATCHING
from steelyard.conformance.detection.associative_embedding import (
    PULL_LOSS,
    PUSH_LOSS,
)
from steelyard.conformance.detection.box_overlaps import (
    ALIGNED_IOU,
    PAIRWISE_GIOU,
    PAIRWISE_INTERSECTION_OVER_AREA,
    PAIRWISE_IOU,
)
from steelyard.conformance.detection.boxes import BOX_AREA, CLIP_BOXES, PAIRWISE_INTERSECTION
from steelyard.conformance.detection.census import (
    COUNT_LABELS,
)
from steelyard.conformance.detection.census_details import (
    FOREGROUND_BY_OBJECT,
    MINIBATCH_MOMENTS,
    WEIGHTS_BY_CLASS,
)
from steelyard.conformance.detection.corner_targets import (
    CORNER_HEAT_MAP,
    CORNER_RADIUS,
)
from steelyard.conformance.detection.dense_candidates import (
    DENSE_CANDIDATES,
)
from steelyard.conformance.detection.diversity_indices import (
    DIVERGENCE_FROM_UNIFORM,
    EFFECTIVE_SAMPLE_SIZE,
    ENTROPY,
    GINI_SIMPSON,
    INVERSE_SIMPSON,
    NORMALISED_ENTROPY,
    PERPLEXITY,
)
from steelyard.conformance.detection.grouping import (
    GROUP_CORNERS,
    GROUP_EXTREMES,
)
from steelyard.conformance.detection.heat_maps import (
    AGGREGATE_EDGES,
    HEAT_MAP_PEAKS,
)
from steelyard.conformance.detection.imbalance_indices import (
    BACKGROUND_TO_FOREGROUND,
    EFFECTIVE_IMBALANCE_RATIO,
    EFFECTIVE_NUMBER,
    FOREGROUND_SHARE,
    GINI_COEFFICIENT,
    IMBALANCE_RATIO,
)
from steelyard.conformance.detection.non_maximum_suppression import (
    GREEDY_NON_MAXIMUM_SUPPRESSION,
    TOP_K_BY_LEVEL,
)
from steelyard.conformance.detection.proposals import (
    FILTER_PROPOSALS,
)
from steelyard.conformance.detection.sliding_windows import SLIDING_WINDOWS

CONTRACTS: tuple[Technique, ...] = (
    BOX_AREA,
    PAIRWISE_INTERSECTION,
    CLIP_BOXES,
    PAIRWISE_IOU,
    ALIGNED_IOU,
    PAIRWISE_GIOU,
    PAIRWISE_INTERSECTION_OVER_AREA,
    SLIDING_WINDOWS,
    CELL_ANCHORS,
    GRID_ANCHORS,
    GRID_POINTS,
    INSIDE_IMAGE,
    RETINANET_ANCHORS,
    FASTER_RCNN_ANCHORS,
    MAX_IOU_MATCHING,
    MAX_IOU_ASSIGNMENT,
    BACKGROUND_TO_FOREGROUND,
    FOREGROUND_SHARE,
    IMBALANCE_RATIO,
    GINI_COEFFICIENT,
    EFFECTIVE_NUMBER,
    EFFECTIVE_IMBALANCE_RATIO,
    ENTROPY,
    NORMALISED_ENTROPY,
    PERPLEXITY,
    INVERSE_SIMPSON,
    GINI_SIMPSON,
    DIVERGENCE_FROM_UNIFORM,
    EFFECTIVE_SAMPLE_SIZE,
    COUNT_LABELS,
    FOREGROUND_BY_OBJECT,
    WEIGHTS_BY_CLASS,
    MINIBATCH_MOMENTS,
    GREEDY_NON_MAXIMUM_SUPPRESSION,
    TOP_K_BY_LEVEL,
    FILTER_PROPOSALS,
    PULL_LOSS,
    PUSH_LOSS,
    HEAT_MAP_PEAKS,
    AGGREGATE_EDGES,
    CORNER_RADIUS,
    CORNER_HEAT_MAP,
    GROUP_CORNERS,
    GROUP_EXTREMES,
    DENSE_CANDIDATES,
    RESIZED_IMAGE_SIZE,
    RETINANET_ANCHOR_CENSUS,
)
