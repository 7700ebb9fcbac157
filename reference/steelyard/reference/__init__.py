"""The specification of the class-imbalance techniques, as readable NumPy in float64."""

from steelyard.reference.checks import SpecError as SpecError
from steelyard.reference.detection.anchor_census import resized_image_size as resized_image_size
from steelyard.reference.detection.anchor_census import retinanet_anchor_census as retinanet_anchor_census
from steelyard.reference.detection.anchor_designs import faster_rcnn_anchors as faster_rcnn_anchors
from steelyard.reference.detection.anchor_designs import retinanet_anchors as retinanet_anchors
from steelyard.reference.detection.anchor_designs import retinanet_feature_sizes as retinanet_feature_sizes
from steelyard.reference.detection.anchors import cell_anchors as cell_anchors
from steelyard.reference.detection.anchors import grid_anchors as grid_anchors
from steelyard.reference.detection.anchors import grid_points as grid_points
from steelyard.reference.detection.anchors import inside_image as inside_image
from steelyard.reference.detection.assignment import max_iou_assignment as max_iou_assignment
from steelyard.reference.detection.assignment import max_iou_matching as max_iou_matching
from steelyard.reference.detection.associative_embedding import pull_loss as pull_loss
from steelyard.reference.detection.associative_embedding import (
    pull_loss_grad_bottom_right_tags as pull_loss_grad_bottom_right_tags,
)
from steelyard.reference.detection.associative_embedding import (
    pull_loss_grad_top_left_tags as pull_loss_grad_top_left_tags,
)
from steelyard.reference.detection.associative_embedding import push_loss as push_loss
from steelyard.reference.detection.associative_embedding import (
    push_loss_grad_bottom_right_tags as push_loss_grad_bottom_right_tags,
)
from steelyard.reference.detection.associative_embedding import (
    push_loss_grad_top_left_tags as push_loss_grad_top_left_tags,
)
from steelyard.reference.detection.box_overlaps import aligned_iou as aligned_iou
from steelyard.reference.detection.box_overlaps import pairwise_giou as pairwise_giou
from steelyard.reference.detection.box_overlaps import (
    pairwise_intersection_over_area as pairwise_intersection_over_area,
)
from steelyard.reference.detection.box_overlaps import pairwise_iou as pairwise_iou
from steelyard.reference.detection.boxes import box_area as box_area
from steelyard.reference.detection.boxes import clip_boxes as clip_boxes
from steelyard.reference.detection.boxes import pairwise_intersection as pairwise_intersection
from steelyard.reference.detection.census import add_census as add_census
from steelyard.reference.detection.census import count_labels as count_labels
from steelyard.reference.detection.census import empty_census as empty_census
from steelyard.reference.detection.census import total_census as total_census
from steelyard.reference.detection.census_details import foreground_by_object as foreground_by_object
from steelyard.reference.detection.census_details import minibatch_moments as minibatch_moments
from steelyard.reference.detection.census_details import weights_by_class as weights_by_class
from steelyard.reference.detection.corner_targets import corner_heat_map as corner_heat_map
from steelyard.reference.detection.corner_targets import corner_radius as corner_radius
from steelyard.reference.detection.dense_candidates import dense_candidates as dense_candidates
from steelyard.reference.detection.diversity_indices import divergence_from_uniform as divergence_from_uniform
from steelyard.reference.detection.diversity_indices import effective_sample_size as effective_sample_size
from steelyard.reference.detection.diversity_indices import entropy as entropy
from steelyard.reference.detection.diversity_indices import gini_simpson as gini_simpson
from steelyard.reference.detection.diversity_indices import inverse_simpson as inverse_simpson
from steelyard.reference.detection.diversity_indices import normalised_entropy as normalised_entropy
from steelyard.reference.detection.diversity_indices import perplexity as perplexity
from steelyard.reference.detection.grouping import group_corners as group_corners
from steelyard.reference.detection.grouping import group_extremes as group_extremes
from steelyard.reference.detection.heat_maps import aggregate_edges as aggregate_edges
from steelyard.reference.detection.heat_maps import heat_map_peaks as heat_map_peaks
from steelyard.reference.detection.imbalance_indices import background_to_foreground as background_to_foreground
from steelyard.reference.detection.imbalance_indices import effective_imbalance_ratio as effective_imbalance_ratio
from steelyard.reference.detection.imbalance_indices import effective_number as effective_number
from steelyard.reference.detection.imbalance_indices import foreground_share as foreground_share
from steelyard.reference.detection.imbalance_indices import gini_coefficient as gini_coefficient
from steelyard.reference.detection.imbalance_indices import imbalance_ratio as imbalance_ratio
from steelyard.reference.detection.non_maximum_suppression import (
    greedy_non_maximum_suppression as greedy_non_maximum_suppression,
)
from steelyard.reference.detection.non_maximum_suppression import top_k_by_level as top_k_by_level
from steelyard.reference.detection.proposals import filter_proposals as filter_proposals
from steelyard.reference.detection.sliding_windows import sliding_windows as sliding_windows
from steelyard.reference.foreground_balance.class_aware_sampling import class_aware_order as class_aware_order
from steelyard.reference.foreground_balance.class_balanced_loss import class_balanced_loss as class_balanced_loss
from steelyard.reference.foreground_balance.class_balanced_loss import (
    class_balanced_loss_grad as class_balanced_loss_grad,
)
from steelyard.reference.foreground_balance.class_balanced_loss import class_balanced_weights as class_balanced_weights
from steelyard.reference.foreground_balance.equalization_loss_v2 import equalization_loss_v2 as equalization_loss_v2
from steelyard.reference.foreground_balance.equalization_loss_v2 import (
    equalization_loss_v2_grad as equalization_loss_v2_grad,
)
from steelyard.reference.foreground_balance.ofb_sampling import class_count_distribution as class_count_distribution
from steelyard.reference.foreground_balance.ofb_sampling import (
    foreground_balanced_probabilities as foreground_balanced_probabilities,
)
from steelyard.reference.foreground_balance.ofb_sampling import (
    foreground_balanced_sampling as foreground_balanced_sampling,
)
from steelyard.reference.foreground_balance.repeat_factor_sampling import image_repeat_factors as image_repeat_factors
from steelyard.reference.foreground_balance.repeat_factor_sampling import repeat_counts as repeat_counts
from steelyard.reference.foreground_balance.repeat_factor_sampling import repeated_images as repeated_images
from steelyard.reference.foreground_balance.seesaw_loss import seesaw_loss as seesaw_loss
from steelyard.reference.foreground_balance.seesaw_loss import seesaw_loss_grad as seesaw_loss_grad
from steelyard.reference.generative.adversarial_dropout import adversarial_dropout_mask as adversarial_dropout_mask
from steelyard.reference.generative.adversarial_dropout import (
    adversarial_dropout_probabilities as adversarial_dropout_probabilities,
)
from steelyard.reference.generative.adversarial_dropout import dropout_is_rewarded as dropout_is_rewarded
from steelyard.reference.generative.adversarial_dropout import dropout_mask_loss as dropout_mask_loss
from steelyard.reference.generative.adversarial_dropout import dropout_mask_loss_grad as dropout_mask_loss_grad
from steelyard.reference.generative.box_generator import generate_boxes as generate_boxes
from steelyard.reference.generative.box_generator_laws import generated_iou_survival as generated_iou_survival
from steelyard.reference.generative.box_generator_laws import (
    generated_side_probabilities as generated_side_probabilities,
)
from steelyard.reference.generative.compositing import composite as composite
from steelyard.reference.generative.compositing import composite_grad_alpha as composite_grad_alpha
from steelyard.reference.generative.compositing import composite_grad_background as composite_grad_background
from steelyard.reference.generative.compositing import composite_grad_foreground as composite_grad_foreground
from steelyard.reference.generative.feasible_region import best_iou_of_corner as best_iou_of_corner
from steelyard.reference.generative.feasible_region import first_corner_areas as first_corner_areas
from steelyard.reference.generative.feasible_region import second_corner_areas as second_corner_areas
from steelyard.reference.generative.feasible_region import second_corner_limits as second_corner_limits
from steelyard.reference.generative.hardest_window import dropout_window_masks as dropout_window_masks
from steelyard.reference.generative.hardest_window import dropout_window_starts as dropout_window_starts
from steelyard.reference.generative.hardest_window import features_without_windows as features_without_windows
from steelyard.reference.generative.hardest_window import hardest_dropout_window as hardest_dropout_window
from steelyard.reference.generative.hardest_window import (
    hardest_window_of_linear_score as hardest_window_of_linear_score,
)
from steelyard.reference.generative.instance_switching import switch_eligibility as switch_eligibility
from steelyard.reference.generative.instance_switching import switch_instances as switch_instances
from steelyard.reference.generative.positive_rois import generate_positive_rois as generate_positive_rois
from steelyard.reference.generative.positive_rois import instance_slots as instance_slots
from steelyard.reference.generative.positive_rois import iou_bin_quotas as iou_bin_quotas
from steelyard.reference.generative.positive_rois import requested_ious as requested_ious
from steelyard.reference.hard_sampling.bootstrapping import bootstrapping as bootstrapping
from steelyard.reference.hard_sampling.bootstrapping import mine_false_positives as mine_false_positives
from steelyard.reference.hard_sampling.bootstrapping import mine_random_false_positives as mine_random_false_positives
from steelyard.reference.hard_sampling.hard_negative_mining import hard_negative_mining as hard_negative_mining
from steelyard.reference.hard_sampling.hard_negative_mining import ssd_confidence_loss as ssd_confidence_loss
from steelyard.reference.hard_sampling.hard_negative_mining import ssd_confidence_loss_grad as ssd_confidence_loss_grad
from steelyard.reference.hard_sampling.instance_balanced_sampling import (
    instance_balanced_positives as instance_balanced_positives,
)
from steelyard.reference.hard_sampling.instance_balanced_sampling import (
    instance_balanced_probabilities as instance_balanced_probabilities,
)
from steelyard.reference.hard_sampling.iou_balanced_sampling import iou_balanced_negatives as iou_balanced_negatives
from steelyard.reference.hard_sampling.iou_balanced_sampling import (
    iou_balanced_probabilities as iou_balanced_probabilities,
)
from steelyard.reference.hard_sampling.iou_lower_bound import iou_lower_bound_sampling as iou_lower_bound_sampling
from steelyard.reference.hard_sampling.iou_lower_bound import iou_range_labels as iou_range_labels
from steelyard.reference.hard_sampling.limit_search_space import objectness_filter as objectness_filter
from steelyard.reference.hard_sampling.limit_search_space import objectness_filter_scores as objectness_filter_scores
from steelyard.reference.hard_sampling.limit_search_space import objectness_prior_sampling as objectness_prior_sampling
from steelyard.reference.hard_sampling.ohem import online_hard_example_loss as online_hard_example_loss
from steelyard.reference.hard_sampling.ohem import (
    online_hard_example_loss_grad_classification_losses as online_hard_example_loss_grad_classification_losses,
)
from steelyard.reference.hard_sampling.ohem import (
    online_hard_example_loss_grad_regression_losses as online_hard_example_loss_grad_regression_losses,
)
from steelyard.reference.hard_sampling.ohem import online_hard_example_mining as online_hard_example_mining
from steelyard.reference.hard_sampling.ohem import stratified_hard_example_mining as stratified_hard_example_mining
from steelyard.reference.hard_sampling.random_sampling import inclusion_probabilities as inclusion_probabilities
from steelyard.reference.hard_sampling.random_sampling import random_sampling as random_sampling
from steelyard.reference.soft_sampling.carl_loss import (
    classification_aware_regression_loss as classification_aware_regression_loss,
)
from steelyard.reference.soft_sampling.carl_loss import (
    classification_aware_regression_loss_grad_logits as classification_aware_regression_loss_grad_logits,
)
from steelyard.reference.soft_sampling.carl_loss import (
    classification_aware_regression_loss_grad_regression_losses as classification_aware_regression_loss_grad_regression_losses,  # noqa: E501
)
from steelyard.reference.soft_sampling.carl_loss import (
    classification_aware_regression_weights as classification_aware_regression_weights,
)
from steelyard.reference.soft_sampling.distribution_focal_loss import boxes_from_distances as boxes_from_distances
from steelyard.reference.soft_sampling.distribution_focal_loss import (
    boxes_from_distances_grad as boxes_from_distances_grad,
)
from steelyard.reference.soft_sampling.distribution_focal_loss import distances_from_boxes as distances_from_boxes
from steelyard.reference.soft_sampling.distribution_focal_loss import (
    distribution_expectation as distribution_expectation,
)
from steelyard.reference.soft_sampling.distribution_focal_loss import (
    distribution_expectation_grad as distribution_expectation_grad,
)
from steelyard.reference.soft_sampling.distribution_focal_loss import distribution_focal_loss as distribution_focal_loss
from steelyard.reference.soft_sampling.distribution_focal_loss import (
    distribution_focal_loss_grad as distribution_focal_loss_grad,
)
from steelyard.reference.soft_sampling.focal_loss import sigmoid_focal_loss as sigmoid_focal_loss
from steelyard.reference.soft_sampling.focal_loss import sigmoid_focal_loss_grad as sigmoid_focal_loss_grad
from steelyard.reference.soft_sampling.focal_loss import (
    sigmoid_focal_loss_with_labels as sigmoid_focal_loss_with_labels,
)
from steelyard.reference.soft_sampling.focal_loss import (
    sigmoid_focal_loss_with_labels_grad as sigmoid_focal_loss_with_labels_grad,
)
from steelyard.reference.soft_sampling.focal_loss_star import focal_loss_star as focal_loss_star
from steelyard.reference.soft_sampling.focal_loss_star import focal_loss_star_grad as focal_loss_star_grad
from steelyard.reference.soft_sampling.focal_normalisers import moving_average_foreground as moving_average_foreground
from steelyard.reference.soft_sampling.focal_normalisers import normalise_focal_loss as normalise_focal_loss
from steelyard.reference.soft_sampling.generalized_focal_loss import (
    generalized_focal_detection_loss as generalized_focal_detection_loss,
)
from steelyard.reference.soft_sampling.generalized_focal_loss import (
    generalized_focal_detection_loss_grad_class_logits as generalized_focal_detection_loss_grad_class_logits,
)
from steelyard.reference.soft_sampling.generalized_focal_loss import (
    generalized_focal_detection_loss_grad_distance_logits as generalized_focal_detection_loss_grad_distance_logits,
)
from steelyard.reference.soft_sampling.generalized_focal_loss import (
    generalized_focal_detection_loss_grad_giou_losses as generalized_focal_detection_loss_grad_giou_losses,
)
from steelyard.reference.soft_sampling.generalized_focal_loss import generalized_focal_loss as generalized_focal_loss
from steelyard.reference.soft_sampling.generalized_focal_loss import (
    generalized_focal_loss_grad as generalized_focal_loss_grad,
)
from steelyard.reference.soft_sampling.ghm import cross_entropy_gradient_norm as cross_entropy_gradient_norm
from steelyard.reference.soft_sampling.ghm import exact_ghm_classification_loss as exact_ghm_classification_loss
from steelyard.reference.soft_sampling.ghm import (
    exact_ghm_classification_loss_grad as exact_ghm_classification_loss_grad,
)
from steelyard.reference.soft_sampling.ghm import ghm_classification_loss as ghm_classification_loss
from steelyard.reference.soft_sampling.ghm import ghm_classification_loss_grad as ghm_classification_loss_grad
from steelyard.reference.soft_sampling.ghm import (
    ghm_classification_loss_with_labels as ghm_classification_loss_with_labels,
)
from steelyard.reference.soft_sampling.ghm import (
    ghm_classification_loss_with_labels_grad as ghm_classification_loss_with_labels_grad,
)
from steelyard.reference.soft_sampling.ghm_classification_sum import ghm_classification_sum as ghm_classification_sum
from steelyard.reference.soft_sampling.ghm_classification_sum import (
    ghm_classification_sum_grad as ghm_classification_sum_grad,
)
from steelyard.reference.soft_sampling.ghm_regression import (
    authentic_smooth_l1_gradient_norm as authentic_smooth_l1_gradient_norm,
)
from steelyard.reference.soft_sampling.ghm_regression import authentic_smooth_l1_loss as authentic_smooth_l1_loss
from steelyard.reference.soft_sampling.ghm_regression import (
    authentic_smooth_l1_loss_grad as authentic_smooth_l1_loss_grad,
)
from steelyard.reference.soft_sampling.ghm_regression import exact_ghm_regression_loss as exact_ghm_regression_loss
from steelyard.reference.soft_sampling.ghm_regression import (
    exact_ghm_regression_loss_grad as exact_ghm_regression_loss_grad,
)
from steelyard.reference.soft_sampling.ghm_regression import ghm_regression_loss as ghm_regression_loss
from steelyard.reference.soft_sampling.ghm_regression import ghm_regression_loss_grad as ghm_regression_loss_grad
from steelyard.reference.soft_sampling.gradient_density import gradient_density as gradient_density
from steelyard.reference.soft_sampling.gradient_density import harmonized_mean_terms as harmonized_mean_terms
from steelyard.reference.soft_sampling.gradient_density import harmonizing_weights as harmonizing_weights
from steelyard.reference.soft_sampling.gradient_density import moving_average_counts as moving_average_counts
from steelyard.reference.soft_sampling.gradient_density import unit_region_counts as unit_region_counts
from steelyard.reference.soft_sampling.gradient_density import unit_region_index as unit_region_index
from steelyard.reference.soft_sampling.gradient_density import unit_region_weights as unit_region_weights
from steelyard.reference.soft_sampling.pisa import iou_hierarchical_local_rank as iou_hierarchical_local_rank
from steelyard.reference.soft_sampling.pisa import isr_p_weights as isr_p_weights
from steelyard.reference.soft_sampling.pisa_negatives import boxes_of_class as boxes_of_class
from steelyard.reference.soft_sampling.pisa_negatives import highest_foreground_score as highest_foreground_score
from steelyard.reference.soft_sampling.pisa_negatives import isr_n_weights as isr_n_weights
from steelyard.reference.soft_sampling.pisa_negatives import nms_match as nms_match
from steelyard.reference.soft_sampling.pisa_negatives import (
    score_hierarchical_local_rank as score_hierarchical_local_rank,
)
from steelyard.reference.soft_sampling.prior_probability import prior_probability_bias as prior_probability_bias
from steelyard.reference.soft_sampling.prior_probability import (
    softmax_prior_probability_bias as softmax_prior_probability_bias,
)
from steelyard.reference.soft_sampling.quality_focal_loss import quality_focal_loss as quality_focal_loss
from steelyard.reference.soft_sampling.quality_focal_loss import quality_focal_loss_grad as quality_focal_loss_grad
from steelyard.reference.soft_sampling.quality_focal_loss import (
    quality_focal_loss_with_labels as quality_focal_loss_with_labels,
)
from steelyard.reference.soft_sampling.quality_focal_loss import (
    quality_focal_loss_with_labels_grad as quality_focal_loss_with_labels_grad,
)
from steelyard.reference.soft_sampling.softmax_focal_loss import softmax_focal_loss as softmax_focal_loss
from steelyard.reference.soft_sampling.softmax_focal_loss import softmax_focal_loss_grad as softmax_focal_loss_grad
from steelyard.reference.soft_sampling.varifocal_loss import varifocal_loss as varifocal_loss
from steelyard.reference.soft_sampling.varifocal_loss import varifocal_loss_grad as varifocal_loss_grad
from steelyard.reference.soft_sampling.varifocal_loss import varifocal_loss_with_labels as varifocal_loss_with_labels
from steelyard.reference.soft_sampling.varifocal_loss import (
    varifocal_loss_with_labels_grad as varifocal_loss_with_labels_grad,
)
