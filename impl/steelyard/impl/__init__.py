"""The class-imbalance techniques in PyTorch: batched, on any device, one name a technique."""

import steelyard.impl.pytorch  # noqa: F401 - first: without PyTorch it says how to get it
from steelyard.impl.detection.anchor_census import resized_image_size as resized_image_size
from steelyard.impl.detection.anchor_census import retinanet_anchor_census as retinanet_anchor_census
from steelyard.impl.detection.anchor_designs import faster_rcnn_anchors as faster_rcnn_anchors
from steelyard.impl.detection.anchor_designs import retinanet_anchors as retinanet_anchors
from steelyard.impl.detection.anchor_designs import retinanet_feature_sizes as retinanet_feature_sizes
from steelyard.impl.detection.anchors import cell_anchors as cell_anchors
from steelyard.impl.detection.anchors import grid_anchors as grid_anchors
from steelyard.impl.detection.anchors import grid_points as grid_points
from steelyard.impl.detection.anchors import inside_image as inside_image
from steelyard.impl.detection.assignment import max_iou_assignment as max_iou_assignment
from steelyard.impl.detection.assignment import max_iou_matching as max_iou_matching
from steelyard.impl.detection.associative_embedding import pull_loss as pull_loss
from steelyard.impl.detection.associative_embedding import push_loss as push_loss
from steelyard.impl.detection.box_overlaps import aligned_iou as aligned_iou
from steelyard.impl.detection.box_overlaps import pairwise_giou as pairwise_giou
from steelyard.impl.detection.box_overlaps import pairwise_intersection_over_area as pairwise_intersection_over_area
from steelyard.impl.detection.box_overlaps import pairwise_iou as pairwise_iou
from steelyard.impl.detection.boxes import box_area as box_area
from steelyard.impl.detection.boxes import clip_boxes as clip_boxes
from steelyard.impl.detection.boxes import pairwise_intersection as pairwise_intersection
from steelyard.impl.detection.census import add_census as add_census
from steelyard.impl.detection.census import count_labels as count_labels
from steelyard.impl.detection.census import empty_census as empty_census
from steelyard.impl.detection.census import total_census as total_census
from steelyard.impl.detection.census_details import foreground_by_object as foreground_by_object
from steelyard.impl.detection.census_details import minibatch_moments as minibatch_moments
from steelyard.impl.detection.census_details import weights_by_class as weights_by_class
from steelyard.impl.detection.corner_targets import corner_heat_map as corner_heat_map
from steelyard.impl.detection.corner_targets import corner_radius as corner_radius
from steelyard.impl.detection.dense_candidates import dense_candidates as dense_candidates
from steelyard.impl.detection.diversity_indices import divergence_from_uniform as divergence_from_uniform
from steelyard.impl.detection.diversity_indices import effective_sample_size as effective_sample_size
from steelyard.impl.detection.diversity_indices import entropy as entropy
from steelyard.impl.detection.diversity_indices import gini_simpson as gini_simpson
from steelyard.impl.detection.diversity_indices import inverse_simpson as inverse_simpson
from steelyard.impl.detection.diversity_indices import normalised_entropy as normalised_entropy
from steelyard.impl.detection.diversity_indices import perplexity as perplexity
from steelyard.impl.detection.grouping import group_corners as group_corners
from steelyard.impl.detection.grouping import group_extremes as group_extremes
from steelyard.impl.detection.heat_maps import aggregate_edges as aggregate_edges
from steelyard.impl.detection.heat_maps import heat_map_peaks as heat_map_peaks
from steelyard.impl.detection.imbalance_indices import background_to_foreground as background_to_foreground
from steelyard.impl.detection.imbalance_indices import effective_imbalance_ratio as effective_imbalance_ratio
from steelyard.impl.detection.imbalance_indices import effective_number as effective_number
from steelyard.impl.detection.imbalance_indices import foreground_share as foreground_share
from steelyard.impl.detection.imbalance_indices import gini_coefficient as gini_coefficient
from steelyard.impl.detection.imbalance_indices import imbalance_ratio as imbalance_ratio
from steelyard.impl.detection.non_maximum_suppression import (
    greedy_non_maximum_suppression as greedy_non_maximum_suppression,
)
from steelyard.impl.detection.non_maximum_suppression import top_k_by_level as top_k_by_level
from steelyard.impl.detection.proposals import filter_proposals as filter_proposals
from steelyard.impl.detection.sliding_windows import sliding_windows as sliding_windows
from steelyard.impl.foreground_balance.class_aware_sampling import class_aware_order as class_aware_order
from steelyard.impl.foreground_balance.class_balanced_loss import class_balanced_loss as class_balanced_loss
from steelyard.impl.foreground_balance.class_balanced_loss import class_balanced_weights as class_balanced_weights
from steelyard.impl.foreground_balance.data_set_samplers import ClassAwareSampler as ClassAwareSampler
from steelyard.impl.foreground_balance.data_set_samplers import RepeatFactorSampler as RepeatFactorSampler
from steelyard.impl.foreground_balance.equalization_loss_v2 import equalization_loss_v2 as equalization_loss_v2
from steelyard.impl.foreground_balance.ofb_sampling import foreground_balanced_sampling as foreground_balanced_sampling
from steelyard.impl.foreground_balance.repeat_factor_sampling import image_repeat_factors as image_repeat_factors
from steelyard.impl.foreground_balance.repeat_factor_sampling import repeat_counts as repeat_counts
from steelyard.impl.foreground_balance.repeat_factor_sampling import repeated_images as repeated_images
from steelyard.impl.foreground_balance.seesaw_loss import seesaw_loss as seesaw_loss
from steelyard.impl.generative.adversarial_dropout import adversarial_dropout_mask as adversarial_dropout_mask
from steelyard.impl.generative.adversarial_dropout import dropout_is_rewarded as dropout_is_rewarded
from steelyard.impl.generative.adversarial_dropout import dropout_mask_loss as dropout_mask_loss
from steelyard.impl.generative.box_generator import generate_boxes as generate_boxes
from steelyard.impl.generative.compositing import composite as composite
from steelyard.impl.generative.feasible_region import best_iou_of_corner as best_iou_of_corner
from steelyard.impl.generative.feasible_region import second_corner_limits as second_corner_limits
from steelyard.impl.generative.hardest_window import dropout_window_masks as dropout_window_masks
from steelyard.impl.generative.hardest_window import dropout_window_starts as dropout_window_starts
from steelyard.impl.generative.hardest_window import features_without_windows as features_without_windows
from steelyard.impl.generative.hardest_window import hardest_dropout_window as hardest_dropout_window
from steelyard.impl.generative.hardest_window import hardest_window_of_linear_score as hardest_window_of_linear_score
from steelyard.impl.generative.instance_switching import switch_eligibility as switch_eligibility
from steelyard.impl.generative.instance_switching import switch_instances as switch_instances
from steelyard.impl.generative.positive_rois import generate_positive_rois as generate_positive_rois
from steelyard.impl.generative.positive_rois import instance_slots as instance_slots
from steelyard.impl.generative.positive_rois import iou_bin_quotas as iou_bin_quotas
from steelyard.impl.generative.positive_rois import requested_ious as requested_ious
from steelyard.impl.hard_sampling.bootstrapping import mine_false_positives as mine_false_positives
from steelyard.impl.hard_sampling.bootstrapping import mine_random_false_positives as mine_random_false_positives
from steelyard.impl.hard_sampling.hard_negative_mining import hard_negative_mining as hard_negative_mining
from steelyard.impl.hard_sampling.hard_negative_mining import ssd_confidence_loss as ssd_confidence_loss
from steelyard.impl.hard_sampling.instance_balanced_sampling import (
    instance_balanced_positives as instance_balanced_positives,
)
from steelyard.impl.hard_sampling.iou_balanced_sampling import iou_balanced_negatives as iou_balanced_negatives
from steelyard.impl.hard_sampling.iou_lower_bound import iou_lower_bound_sampling as iou_lower_bound_sampling
from steelyard.impl.hard_sampling.iou_lower_bound import iou_range_labels as iou_range_labels
from steelyard.impl.hard_sampling.limit_search_space import objectness_filter as objectness_filter
from steelyard.impl.hard_sampling.limit_search_space import objectness_filter_scores as objectness_filter_scores
from steelyard.impl.hard_sampling.limit_search_space import objectness_prior_sampling as objectness_prior_sampling
from steelyard.impl.hard_sampling.ohem import online_hard_example_loss as online_hard_example_loss
from steelyard.impl.hard_sampling.ohem import online_hard_example_mining as online_hard_example_mining
from steelyard.impl.hard_sampling.ohem import stratified_hard_example_mining as stratified_hard_example_mining
from steelyard.impl.hard_sampling.random_sampling import random_sampling as random_sampling
from steelyard.impl.soft_sampling.carl_loss import (
    classification_aware_regression_loss as classification_aware_regression_loss,
)
from steelyard.impl.soft_sampling.carl_loss import (
    classification_aware_regression_weights as classification_aware_regression_weights,
)
from steelyard.impl.soft_sampling.distribution_focal_loss import boxes_from_distances as boxes_from_distances
from steelyard.impl.soft_sampling.distribution_focal_loss import distances_from_boxes as distances_from_boxes
from steelyard.impl.soft_sampling.distribution_focal_loss import distribution_expectation as distribution_expectation
from steelyard.impl.soft_sampling.distribution_focal_loss import distribution_focal_loss as distribution_focal_loss
from steelyard.impl.soft_sampling.focal_loss import sigmoid_focal_loss as sigmoid_focal_loss
from steelyard.impl.soft_sampling.focal_loss import sigmoid_focal_loss_with_labels as sigmoid_focal_loss_with_labels
from steelyard.impl.soft_sampling.focal_loss_star import focal_loss_star as focal_loss_star
from steelyard.impl.soft_sampling.focal_normalisers import moving_average_foreground as moving_average_foreground
from steelyard.impl.soft_sampling.focal_normalisers import normalise_focal_loss as normalise_focal_loss
from steelyard.impl.soft_sampling.generalized_focal_loss import (
    generalized_focal_detection_loss as generalized_focal_detection_loss,
)
from steelyard.impl.soft_sampling.generalized_focal_loss import generalized_focal_loss as generalized_focal_loss
from steelyard.impl.soft_sampling.ghm import cross_entropy_gradient_norm as cross_entropy_gradient_norm
from steelyard.impl.soft_sampling.ghm import exact_ghm_classification_loss as exact_ghm_classification_loss
from steelyard.impl.soft_sampling.ghm import ghm_classification_loss as ghm_classification_loss
from steelyard.impl.soft_sampling.ghm import ghm_classification_loss_with_labels as ghm_classification_loss_with_labels
from steelyard.impl.soft_sampling.ghm_classification_sum import ghm_classification_sum as ghm_classification_sum
from steelyard.impl.soft_sampling.ghm_regression import (
    authentic_smooth_l1_gradient_norm as authentic_smooth_l1_gradient_norm,
)
from steelyard.impl.soft_sampling.ghm_regression import authentic_smooth_l1_loss as authentic_smooth_l1_loss
from steelyard.impl.soft_sampling.ghm_regression import exact_ghm_regression_loss as exact_ghm_regression_loss
from steelyard.impl.soft_sampling.ghm_regression import ghm_regression_loss as ghm_regression_loss
from steelyard.impl.soft_sampling.gradient_density import gradient_density as gradient_density
from steelyard.impl.soft_sampling.gradient_density import harmonized_mean_terms as harmonized_mean_terms
from steelyard.impl.soft_sampling.gradient_density import harmonizing_weights as harmonizing_weights
from steelyard.impl.soft_sampling.gradient_density import moving_average_counts as moving_average_counts
from steelyard.impl.soft_sampling.gradient_density import unit_region_counts as unit_region_counts
from steelyard.impl.soft_sampling.gradient_density import unit_region_index as unit_region_index
from steelyard.impl.soft_sampling.gradient_density import unit_region_weights as unit_region_weights
from steelyard.impl.soft_sampling.pisa import iou_hierarchical_local_rank as iou_hierarchical_local_rank
from steelyard.impl.soft_sampling.pisa import isr_p_weights as isr_p_weights
from steelyard.impl.soft_sampling.pisa_negatives import boxes_of_class as boxes_of_class
from steelyard.impl.soft_sampling.pisa_negatives import highest_foreground_score as highest_foreground_score
from steelyard.impl.soft_sampling.pisa_negatives import isr_n_weights as isr_n_weights
from steelyard.impl.soft_sampling.pisa_negatives import nms_match as nms_match
from steelyard.impl.soft_sampling.pisa_negatives import (
    score_hierarchical_local_rank as score_hierarchical_local_rank,
)
from steelyard.impl.soft_sampling.prior_probability import prior_probability_bias as prior_probability_bias
from steelyard.impl.soft_sampling.prior_probability import (
    softmax_prior_probability_bias as softmax_prior_probability_bias,
)
from steelyard.impl.soft_sampling.quality_focal_loss import quality_focal_loss as quality_focal_loss
from steelyard.impl.soft_sampling.quality_focal_loss import (
    quality_focal_loss_with_labels as quality_focal_loss_with_labels,
)
from steelyard.impl.soft_sampling.softmax_focal_loss import softmax_focal_loss as softmax_focal_loss
from steelyard.impl.soft_sampling.varifocal_loss import varifocal_loss as varifocal_loss
from steelyard.impl.soft_sampling.varifocal_loss import varifocal_loss_with_labels as varifocal_loss_with_labels

ARRAYS = "torch"
KNOWN = (
    {
        "technique": "distribution_focal_loss",
        "requirement": "DFL-20",
        "reason": "the values of a tensor are the caller's promise: to look at them would wait for the device",
    },
)
