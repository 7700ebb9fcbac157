"""A small call of every public function: the table that the tests of devices, compilation and precision go through.

An entry is named after its function; further entries of one function, `function: what differs`, give it the arguments
that the first one leaves out. `n` is the size that grows in training: candidates, samples, cells of a map, images of a
data set. All other sizes stay as they are.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from inspect import signature
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.utils._pytree import tree_leaves, tree_map_only

import steelyard.impl as room

CLASSES, IMAGES, OBJECTS = 3, 2, 5
SMALL, LARGER = 13, 23
"""Sizes `n`: unlike each other and all others, which a compiler would take for one, and above every `k` of a best k."""

DEVICES = (
    "cpu",
    pytest.param(
        "cuda", marks=[pytest.mark.cuda, pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")]
    ),
)


OTHERWISE_ON_CPUS = (
    "adversarial_dropout_mask",
    "generate_positive_rois",
    "hard_negative_mining",
    "instance_balanced_positives",
    "iou_balanced_negatives",
    "iou_lower_bound_sampling",
    "mine_false_positives",
    "mine_random_false_positives",
    "objectness_prior_sampling",
    "random_sampling",
    "ssd_confidence_loss",
    "stratified_hard_example_mining",
)
"""What uses operators of our own on a CPU; with the fixture `as_on_a_device` it does what it does elsewhere."""


class Draw:
    """Random tensors of one seed, on the CPU."""

    def __init__(self, seed):
        self.generator = torch.Generator().manual_seed(seed)

    def normal(self, *shape):
        return torch.randn(shape, generator=self.generator)

    def uniform(self, *shape, low=0.0, high=1.0):
        return torch.rand(shape, generator=self.generator) * (high - low) + low

    def integers(self, low, high, *shape):
        return torch.randint(low, high, shape, generator=self.generator)

    def boolean(self, *shape):
        return self.integers(0, 4, *shape) > 0

    def labels(self, *shape):
        """Classes, background and ignored."""
        return self.integers(-1, CLASSES + 1, *shape)

    def boxes(self, *shape):
        """In an image of 100 pixels, many of which overlap."""
        corner = self.uniform(*shape, 2, high=60.0)
        return torch.cat([corner, corner + self.uniform(*shape, 2, low=5.0, high=60.0)], dim=-1)

    def sizes(self):
        """Height and width of each image."""
        return self.uniform(IMAGES, 2, low=60.0, high=110.0).round()

    def census(self, n):
        """Of `n` images with two levels each."""
        return room.count_labels(self.labels(n, 6), num_classes=CLASSES, levels=self.integers(0, 2, n, 6), num_levels=2)


@dataclass(frozen=True)
class Example:
    """How a public function is called."""

    tensors: Callable[[Draw, int], dict[str, Any]] = lambda _, __: {}
    sizes: Callable[[int], dict[str, int]] = lambda _: {}
    """Plain numbers that grow with `n`."""
    options: dict[str, Any] = field(default_factory=dict)
    gradient: tuple[str, ...] = ()
    """Tensors by which the result is differentiated."""
    fixed: str | None = None
    """Why nothing grows here: the size is a constant of an architecture or a data set."""
    alone: str | None = None
    """Why there is no batch of calls."""
    large: int = 50_000
    """An `n` at which eager code goes another way: in slices, in blocks; little where work grows with its square."""

    def arguments(self, n, *, seed=0, device="cpu", dtype=torch.float32):
        """Tensors on a device, those of floats in a dtype, and numbers."""
        drawn = tree_map_only(
            Tensor, lambda t: (t.to(dtype) if t.is_floating_point() else t).to(device), self.tensors(Draw(seed), n)
        )
        for name in self.gradient:
            drawn[name] = drawn[name].requires_grad_()
        return {**drawn, **self.sizes(n)}


def _boxes(draw, n):
    return {"boxes": draw.boxes(IMAGES, n)}


def _two_sets(draw, n):
    return {"boxes": draw.boxes(n), "other_boxes": draw.boxes(OBJECTS)}


def _counts(draw, n):
    """The last class never occurs."""
    return {"counts": torch.cat([draw.integers(1, 50, n, CLASSES), torch.zeros(n, 1, dtype=torch.int64)], dim=1)}


def _background_and_foreground(draw, n):
    return {"background": draw.integers(0, 900, n), "foreground": draw.integers(0, 9, n)}


def _sigmoid(draw, n):
    return {"logits": draw.normal(IMAGES, n, CLASSES), "targets": draw.integers(0, 2, IMAGES, n, CLASSES)}


def _sigmoid_labels(draw, n):
    return {"logits": draw.normal(IMAGES, n, CLASSES), "labels": draw.labels(IMAGES, n)}


def _softmax_labels(draw, n):
    return {"logits": draw.normal(IMAGES, n, CLASSES + 1), "labels": draw.labels(IMAGES, n)}


def _equalization(draw, n):
    return {
        "logits": draw.normal(n, CLASSES + 1),
        "labels": draw.labels(n),
        "positive_gradients": draw.uniform(CLASSES, high=3.0),
        "negative_gradients": draw.uniform(CLASSES, high=3.0),
    }


def _soft(draw, n):
    return {"logits": draw.normal(IMAGES, n, CLASSES), "targets": draw.uniform(IMAGES, n, CLASSES)}


def _soft_labels(draw, n):
    return {**_sigmoid_labels(draw, n), "quality": draw.uniform(IMAGES, n)}


def _coordinates(draw, n):
    return {"predictions": draw.normal(IMAGES, n, 4), "targets": draw.normal(IMAGES, n, 4)}


def _norms(draw, n):
    return {"gradient_norms": draw.uniform(IMAGES, n, CLASSES)}


def _valid(tensors, like):
    """The same arguments with some examples left out."""

    def with_valid(draw, n):
        drawn = tensors(draw, n)
        return {**drawn, "valid": draw.boolean(*drawn[like].shape)}

    return with_valid


def _state(tensors, bins=10):
    return lambda draw, n: {**tensors(draw, n), "state": draw.uniform(bins, high=30.0)}


def _carl(classes):
    return lambda draw, n: {"logits": draw.normal(IMAGES, n, classes), "labels": draw.labels(IMAGES, n)}


def _carl_loss(draw, n):
    return {**_carl(CLASSES + 1)(draw, n), "regression_losses": draw.uniform(IMAGES, n, 4)}


def _detection_loss(draw, n):
    return {
        "class_logits": draw.normal(IMAGES, n, CLASSES),
        "labels": draw.labels(IMAGES, n),
        "quality": draw.uniform(IMAGES, n),
        "distance_logits": draw.normal(IMAGES, n, 4, 9),
        "distance_targets": draw.uniform(IMAGES, n, 4, high=8.0),
        "giou_losses": draw.uniform(IMAGES, n),
    }


def _generalized(draw, n):
    left = draw.integers(0, 4, IMAGES, n).float()
    return {
        "probabilities": draw.uniform(IMAGES, n, 2, low=0.05, high=0.95),
        "targets": left + draw.uniform(IMAGES, n),
        "left": left,
        "right": left + 1.0,
    }


def _positives(draw, n):
    return {
        "iou": draw.uniform(IMAGES, n),
        "labels": draw.labels(IMAGES, n),
        "gt_index": draw.integers(0, OBJECTS, IMAGES, n),
    }


def _isr_p(draw, n):
    return {**_positives(draw, n), "classification_losses": draw.uniform(IMAGES, n)}


def _isr_n(draw, n):
    return {
        "scores": draw.uniform(IMAGES, n, high=0.3),
        "boxes": draw.boxes(IMAGES, n),
        "classification_losses": draw.uniform(IMAGES, n, CLASSES),
        "keys": draw.uniform(IMAGES, n),
    }


def _assignment(draw, n):
    return {
        "boxes": draw.boxes(n),
        "gt_boxes": draw.boxes(IMAGES, OBJECTS),
        "gt_labels": draw.integers(-1, CLASSES, IMAGES, OBJECTS),
    }


def _matching(draw, n):
    return {"iou": draw.uniform(IMAGES, OBJECTS, n)}


def _proposals(draw, n):
    return {
        "boxes": draw.boxes(IMAGES, n),
        "objectness": draw.uniform(IMAGES, n),
        "image_size": draw.sizes(),
    }


def _dense(draw, n):
    return {
        "boxes": draw.boxes(IMAGES, n),
        "probabilities": draw.uniform(IMAGES, n, CLASSES),
        "image_size": draw.sizes(),
    }


def _levels(tensors):
    return lambda draw, n: {**tensors(draw, n), "levels": draw.integers(0, 2, IMAGES, n)}


def _masked(tensors, name="mask"):
    return lambda draw, n: {**tensors(draw, n), name: draw.boolean(IMAGES, n)}


def _scored(draw, n):
    return {"boxes": draw.boxes(IMAGES, n), "scores": draw.uniform(IMAGES, n)}


def _tags(draw, n):
    return {"top_left_tags": draw.normal(IMAGES, n), "bottom_right_tags": draw.normal(IMAGES, n)}


def _corners(draw, n):
    return {
        "scores": draw.uniform(IMAGES, 2, n),
        "classes": draw.integers(-1, 2, IMAGES, 2, n),
        "points": draw.integers(0, 12, IMAGES, 2, n, 2),
        "tags": draw.uniform(IMAGES, 2, n),
    }


def _extremes(draw, n):
    """Tops before lefts and rights, these before bottoms: some quadruples are boxes."""
    near = torch.tensor([[4, 0], [0, 4], [4, 9], [9, 4]])[:, None]
    return {
        "scores": draw.uniform(IMAGES, 4, 6, low=0.2),
        "classes": draw.integers(-1, 2, IMAGES, 4, 6),
        "points": near + draw.integers(0, 3, IMAGES, 4, 6, 2),
        "center_heat": draw.uniform(IMAGES, CLASSES, n, 12),
    }


def _roi_losses(draw, n):
    return {
        "boxes": draw.boxes(IMAGES, n),
        "labels": draw.labels(IMAGES, n),
        "classification_losses": draw.uniform(IMAGES, n),
        "regression_losses": draw.uniform(IMAGES, n),
    }


def _keyed(draw, n):
    return {"labels": draw.labels(IMAGES, n), "keys": draw.uniform(IMAGES, n)}


def _losses(draw, n):
    return {"losses": draw.uniform(IMAGES, n), "labels": draw.labels(IMAGES, n)}


def _range(draw, n):
    return {"max_iou": draw.uniform(IMAGES, n), "classes": draw.integers(-1, CLASSES, IMAGES, n)}


def _iou_balanced(draw, n):
    return {
        **_keyed(draw, n),
        "max_iou": draw.uniform(IMAGES, n),
        "num_negatives": draw.integers(0, 8, IMAGES),
        "fill_keys": draw.uniform(IMAGES, n),
    }


def _pool(draw, n):
    return {"scores": draw.normal(IMAGES, n), "held": draw.integers(0, 2, IMAGES, n).bool()}


def _features(draw, n):
    return {"features": draw.normal(n, 6, 5, 5)}


def _adversary(draw, n):
    return {
        "probabilities": draw.uniform(n, 7, 7),
        "labels": draw.labels(n),
        "keys": draw.uniform(n, 7, 7),
    }


def _generated(draw, n):
    return {
        "boxes": draw.boxes(n),
        "minimum_ious": draw.uniform(n, low=0.4, high=0.9),
        "coin_keys": draw.uniform(n),
        "first_keys": draw.uniform(n, 6, 2),
        "second_keys": draw.uniform(n, 6, 2),
    }


def _rois(draw, n):
    return {
        "gt_boxes": draw.boxes(IMAGES, OBJECTS),
        "gt_labels": draw.integers(-1, CLASSES, IMAGES, OBJECTS),
        "image_size": draw.sizes(),
        "bin_edges": torch.tensor([0.5, 0.6, 0.7, 0.8]),
        "weights": draw.uniform(3, low=0.1),
        "slot_keys": draw.uniform(IMAGES, n + OBJECTS),
        "bin_keys": draw.uniform(IMAGES, n),
        "position_keys": draw.uniform(IMAGES, n),
        "coin_keys": draw.uniform(IMAGES, n),
        "first_keys": draw.uniform(IMAGES, n, 6, 2),
        "second_keys": draw.uniform(IMAGES, n, 6, 2),
    }


def _requested(draw, n):
    return {
        "bin_edges": torch.tensor([0.5, 0.6, 0.7, 0.8]),
        "weights": draw.uniform(3, low=0.1),
        "bin_keys": draw.uniform(IMAGES, n),
        "position_keys": draw.uniform(IMAGES, n),
    }


def _objects(draw, n):
    """Objects of three images of 12 by 14 pixels, and pairs of them."""
    corner = draw.integers(0, 6, OBJECTS, 2)
    return {
        "masks": draw.boolean(OBJECTS, 12, 14),
        "boxes": torch.cat([corner, corner + draw.integers(4, 7, OBJECTS, 2)], dim=-1),
        "image_index": torch.arange(OBJECTS) % 3,
        "pairs": draw.integers(0, OBJECTS, n, 2),
    }


def _switch_rule(draw, n):
    return {
        **_objects(draw, n),
        "labels": torch.zeros(OBJECTS, dtype=torch.int64),
        "crowd": torch.arange(OBJECTS) == 1,
    }


def _order(draw, n):
    """As many passes as images: more than enough."""
    return {
        "labels": draw.integers(-1, CLASSES, n, 2),
        "class_keys": draw.uniform(n, CLASSES),
        "image_keys": draw.uniform(5 * n),
    }


def _repeated(draw, n):
    return {"counts": torch.cat([torch.ones(n - 1, dtype=torch.int64), torch.full((1,), n + 1)]),
            "keys": draw.uniform(2 * n)}  # fmt: skip


_C = {"num_classes": CLASSES}
_OF_THE_DATA_SET = "an epoch of a whole data set, of which there is one at a time"
_MAP = "nothing to map over: no tensor goes in"

EXAMPLES = {
    "add_census": Example(lambda draw, n: {"census": draw.census(n), "other": draw.census(n)}),
    "adversarial_dropout_mask": Example(_adversary, options=_C, large=5000),
    # not along the edge: its sums take a step each time that its length doubles, and an architecture fixes its length
    "aggregate_edges": Example(lambda draw, n: {"heat": draw.uniform(n, CLASSES, 11)}, gradient=("heat",)),
    "aligned_iou": Example(
        lambda draw, n: {"boxes": draw.boxes(n), "other_boxes": draw.boxes(n)}, gradient=("boxes", "other_boxes")
    ),
    "authentic_smooth_l1_gradient_norm": Example(_coordinates),
    "authentic_smooth_l1_loss": Example(_coordinates, gradient=("predictions", "targets")),
    "background_to_foreground": Example(_background_and_foreground),
    "best_iou_of_corner": Example(lambda draw, n: {"corners": draw.uniform(n, 2, low=-1.0)}, gradient=("corners",)),
    "box_area": Example(_boxes, gradient=("boxes",)),
    "boxes_from_distances": Example(
        lambda draw, n: {
            "points": draw.uniform(IMAGES, n, 2, high=100.0),
            "distances": draw.uniform(IMAGES, n, 4, high=8.0),
            "strides": 2.0 ** draw.integers(3, 8, IMAGES, n),
        },
        gradient=("distances",),
    ),
    "boxes_of_class": Example(
        lambda draw, n: {"boxes": draw.boxes(n, CLASSES), "classes": draw.integers(0, CLASSES, n)}, gradient=("boxes",)
    ),
    "cell_anchors": Example(
        lambda draw, n: {"sizes": draw.uniform(n, low=8.0, high=512.0), "ratios": torch.tensor([0.5, 1.0, 2.0])}
    ),
    "class_aware_order": Example(_order, options=_C, alone=_OF_THE_DATA_SET),
    "class_balanced_loss": Example(
        lambda draw, n: {
            "logits": draw.normal(n, CLASSES),
            "labels": draw.integers(-1, CLASSES, n),
            "counts": draw.integers(1, 99, CLASSES),
        },
        gradient=("logits",),
    ),
    "class_balanced_weights": Example(lambda draw, n: {"counts": draw.integers(0, 99, n)}),
    "classification_aware_regression_loss": Example(_carl_loss, gradient=("logits", "regression_losses")),
    "classification_aware_regression_loss: averaged": Example(
        lambda draw, n: {**_carl_loss(draw, n), "avg_factor": torch.tensor(7.0)}, gradient=("logits",)
    ),
    "classification_aware_regression_weights": Example(_carl(CLASSES + 1), gradient=("logits",)),
    "classification_aware_regression_weights: sigmoid": Example(
        _carl(CLASSES), options={"activation": "sigmoid"}, gradient=("logits",)
    ),
    "clip_boxes": Example(lambda draw, n: {**_boxes(draw, n), "image_size": draw.sizes()}, gradient=("boxes",)),
    "composite": Example(
        lambda draw, n: {
            "foreground": draw.uniform(n, CLASSES, 5, 6),
            "alpha": draw.uniform(n, 5, 6),
            "background": draw.uniform(n, CLASSES, 8, 9),
            "theta": torch.tensor([[0.8, 0.1, -1.0], [0.0, 0.9, -1.0]]) + 0.1 * draw.normal(n, 2, 3),
        },
        gradient=("foreground", "alpha", "background", "theta"),
        large=2000,
    ),
    "corner_heat_map": Example(
        lambda draw, n: {
            "points": draw.integers(0, 8, IMAGES, n, 2),
            "labels": draw.integers(-1, CLASSES, IMAGES, n),
            "radii": draw.integers(0, 4, IMAGES, n),
        },
        options={**_C, "height": 8, "width": 9},
    ),
    "corner_radius": Example(
        lambda draw, n: {"heights": draw.uniform(n, high=99.0), "widths": draw.uniform(n, high=99.0)}
    ),
    "count_labels": Example(lambda draw, n: {"labels": draw.labels(IMAGES, n)}, options=_C),
    "count_labels: by level": Example(
        _masked(_levels(lambda draw, n: {"labels": draw.labels(IMAGES, n)})), options={**_C, "num_levels": 2}
    ),
    "cross_entropy_gradient_norm": Example(_sigmoid, gradient=("logits",)),
    "dense_candidates": Example(
        _dense, options={"pre_nms_top_k": 7, "post_nms_top_k": 6}, gradient=("boxes", "probabilities")
    ),
    "dense_candidates: by level": Example(
        _levels(_dense), options={"num_levels": 2, "pre_nms_top_k": 7, "post_nms_top_k": 6}
    ),
    "distances_from_boxes": Example(
        lambda draw, n: {
            "points": draw.uniform(IMAGES, n, 2, high=100.0),
            "boxes": draw.boxes(IMAGES, n),
            "strides": 2.0 ** draw.integers(3, 8, IMAGES, n),
        },
        options={"num_bins": 9},
        gradient=("boxes",),
    ),
    "distribution_expectation": Example(lambda draw, n: {"logits": draw.normal(n, 4, 9)}, gradient=("logits",)),
    "distribution_focal_loss": Example(
        lambda draw, n: {"logits": draw.normal(n, 4, 9), "targets": draw.uniform(n, 4, high=8.0)}, gradient=("logits",)
    ),
    "divergence_from_uniform": Example(_counts),
    "dropout_is_rewarded": Example(
        lambda draw, n: {"before": draw.uniform(n), "after": draw.uniform(n), "labels": draw.labels(n)}, options=_C
    ),
    "dropout_mask_loss": Example(
        lambda draw, n: {
            "logits": draw.normal(n, 7, 7),
            "targets": draw.boolean(n, 7, 7),
            "rewarded": draw.boolean(n),
        },
        gradient=("logits",),
    ),
    "dropout_window_masks": Example(
        sizes=lambda _: {"num_cells": 7}, fixed="the cells of pooled features, which an architecture fixes", alone=_MAP
    ),
    "effective_imbalance_ratio": Example(_counts, options={"beta": 0.99, "present_only": True}),
    "effective_number": Example(_counts, options={"beta": 0.99}),
    "effective_sample_size": Example(lambda draw, n: {"weights": draw.uniform(IMAGES, n)}),
    "empty_census": Example(options=_C, fixed="of no image", alone=_MAP),
    "entropy": Example(_counts),
    "equalization_loss_v2": Example(_equalization, gradient=("logits",)),
    "equalization_loss_v2: weighted": Example(
        lambda draw, n: {**_equalization(draw, n), "weights": draw.uniform(n)},
        options={"reduction": "none"},
        gradient=("logits", "weights"),
    ),
    "exact_ghm_classification_loss": Example(
        _valid(_sigmoid, "logits"), options={"epsilon": 0.1}, gradient=("logits",)
    ),
    "exact_ghm_regression_loss": Example(
        _valid(_coordinates, "predictions"), options={"epsilon": 0.1}, gradient=("predictions", "targets")
    ),
    "faster_rcnn_anchors": Example(sizes=lambda n: {"height": 16 * n, "width": 112}, alone=_MAP, large=2000),
    "features_without_windows": Example(_features, gradient=("features",), large=2000),
    "filter_proposals": Example(
        _masked(_proposals),
        options={"pre_nms_top_k": 8, "post_nms_top_k": 6, "objectness_threshold": 0.1},
        gradient=("boxes", "objectness"),
    ),
    "filter_proposals: by level": Example(
        _levels(_proposals), options={"num_levels": 2, "pre_nms_top_k": 8, "post_nms_top_k": 6}
    ),
    "focal_loss_star": Example(_sigmoid, gradient=("logits",)),
    "foreground_balanced_sampling": Example(_keyed, options={**_C, "num_expected": 6}),
    "foreground_by_object": Example(
        lambda draw, n: {"matched_gt": draw.integers(0, OBJECTS, IMAGES, n), "labels": draw.labels(IMAGES, n)},
        options={**_C, "num_objects": OBJECTS},
    ),
    "foreground_share": Example(_background_and_foreground),
    "generalized_focal_detection_loss": Example(
        _detection_loss, gradient=("class_logits", "distance_logits", "giou_losses")
    ),
    "generalized_focal_loss": Example(_generalized, gradient=("probabilities",)),
    "generate_boxes": Example(_generated),
    "generate_positive_rois": Example(_rois, options=_C, large=5000),
    "ghm_classification_loss": Example(_sigmoid, gradient=("logits",)),
    "ghm_classification_loss: averaged": Example(
        _state(_valid(_sigmoid, "logits")), options={"momentum": 0.7, "reduction": "none"}, gradient=("logits",)
    ),
    "ghm_classification_loss_with_labels": Example(
        _state(_sigmoid_labels), options={"momentum": 0.7, "ema": "full"}, gradient=("logits",)
    ),
    "ghm_classification_sum": Example(_valid(_sigmoid, "logits"), gradient=("logits",)),
    "ghm_regression_loss": Example(_coordinates, gradient=("predictions", "targets")),
    "ghm_regression_loss: averaged": Example(
        _state(_valid(_coordinates, "predictions")), options={"momentum": 0.7}, gradient=("predictions",)
    ),
    "gini_coefficient": Example(_counts),
    "gini_simpson": Example(_counts),
    "gradient_density": Example(_valid(_norms, "gradient_norms"), options={"epsilon": 0.1}),
    "greedy_non_maximum_suppression": Example(_scored, large=600),
    "greedy_non_maximum_suppression: by group": Example(
        _masked(lambda draw, n: {**_scored(draw, n), "groups": draw.integers(0, 2, IMAGES, n)}), large=600
    ),
    "grid_anchors": Example(
        lambda draw, _: {"cell": draw.boxes(CLASSES)},
        sizes=lambda n: {"feature_height": n},
        options={"feature_width": 7, "stride": 8.0},
    ),
    "grid_points": Example(
        sizes=lambda n: {"feature_height": n}, options={"feature_width": 7, "stride": 8.0}, alone=_MAP
    ),
    "group_corners": Example(_corners, options={"top_k": 6}, gradient=("scores",), large=600),
    "group_extremes": Example(_extremes, options={"top_k": 6}),
    "hard_negative_mining": Example(_losses, options=_C),
    "hardest_dropout_window": Example(
        lambda draw, n: {"scores": draw.uniform(n, 9), "masks": draw.boolean(9, 5, 5), "labels": draw.labels(n)},
        options=_C,
    ),
    "hardest_window_of_linear_score": Example(
        lambda draw, n: {**_features(draw, n), "weights": draw.normal(CLASSES, 6, 5, 5), "labels": draw.labels(n)}
    ),
    "harmonized_mean_terms": Example(
        lambda draw, n: {
            "values": draw.uniform(IMAGES, n),
            "weights": draw.uniform(IMAGES, n),
            "valid": draw.boolean(IMAGES, n),
        },
        gradient=("values",),
    ),
    "harmonizing_weights": Example(_valid(_norms, "gradient_norms"), options={"epsilon": 0.1}),
    "heat_map_peaks": Example(
        lambda draw, n: {"heat": draw.uniform(IMAGES, CLASSES, n, 9)}, options={"top_k": 6}, gradient=("heat",)
    ),
    "highest_foreground_score": Example(lambda draw, n: {"logits": draw.normal(IMAGES, n, CLASSES + 1)}),
    "image_repeat_factors": Example(
        lambda draw, n: {"labels": draw.integers(-1, CLASSES, n, 2)}, options={**_C, "threshold": 0.9}
    ),
    "imbalance_ratio": Example(_counts, options={"present_only": True}),
    "inside_image": Example(lambda draw, n: {**_boxes(draw, n), "image_size": draw.sizes()}),
    "instance_balanced_positives": Example(
        lambda draw, n: {
            "instances": draw.integers(-1, OBJECTS, IMAGES, n),
            "keys": draw.uniform(IMAGES, n),
            "fill_keys": draw.uniform(IMAGES, n),
        },
        options={"num_positives": 6},
    ),
    "instance_slots": Example(lambda draw, n: {"labels": draw.labels(IMAGES, n)}, options={**_C, "num_rois": 12}),
    "inverse_simpson": Example(_counts),
    "iou_balanced_negatives": Example(_iou_balanced, options={**_C, "floor_iou": 0.1, "floor_fraction": 0.3}),
    "iou_bin_quotas": Example(lambda draw, n: {"weights": draw.uniform(n, low=0.1)}, options={"num_rois": 12}),
    "iou_hierarchical_local_rank": Example(_positives, options=_C),
    "iou_hierarchical_local_rank: of images": Example(
        lambda draw, n: {**_positives(draw, n), "image_index": draw.integers(0, 4, IMAGES, n)}, options=_C
    ),
    "iou_lower_bound_sampling": Example(
        lambda draw, n: {**_range(draw, n), "keys": draw.uniform(IMAGES, n)},
        options={**_C, "num_samples": 6, "fill_from_below": True},
    ),
    "iou_range_labels": Example(_range, options=_C),
    "isr_n_weights": Example(_isr_n, options={"num_expected": 6}, large=600),
    "isr_n_weights: masked": Example(
        lambda draw, n: {**_masked(_isr_n)(draw, n), "num_expected": draw.integers(0, 9, IMAGES)}, large=600
    ),
    "isr_p_weights": Example(_isr_p, options=_C),
    "isr_p_weights: of images": Example(
        lambda draw, n: {
            **_isr_p(draw, n),
            "image_index": draw.integers(0, 4, IMAGES, n),
            "label_weights": draw.uniform(IMAGES, n),
        },
        options={**_C, "denominator": "max"},
    ),
    "max_iou_assignment": Example(_assignment, options={**_C, "low_quality": "keep"}),
    "max_iou_assignment: ignoring": Example(
        lambda draw, n: {
            **_masked(_assignment, "candidate_mask")(draw, n),
            "ignore_regions": draw.boxes(IMAGES, CLASSES),
        },
        options={**_C, "ignore_threshold": 0.5, "low_quality": "overwrite_last"},
    ),
    "max_iou_matching": Example(_matching),
    "max_iou_matching: masked": Example(
        lambda draw, n: {**_masked(_matching, "candidate_mask")(draw, n), "gt_mask": draw.boolean(IMAGES, OBJECTS)},
        options={"low_quality": "keep"},
    ),
    "mine_false_positives": Example(_pool, options={"max_new": 4}),
    "mine_random_false_positives": Example(
        lambda draw, n: {**_pool(draw, n), "keys": draw.uniform(IMAGES, n)}, options={"max_new": 4}
    ),
    "minibatch_moments": Example(lambda draw, n: {"class_counts": draw.integers(0, 50, n, CLASSES)}),
    "moving_average_counts": Example(
        lambda draw, n: {"state": draw.uniform(n, high=30.0), "counts": draw.integers(0, 30, n)},
        options={"momentum": 0.7},
    ),
    "moving_average_foreground": Example(
        lambda draw, n: {"previous": torch.tensor(9.0), "foreground": draw.integers(0, 30, n)}
    ),
    "moving_average_foreground: from a number": Example(
        lambda draw, n: {"foreground": draw.integers(0, 30, n)}, options={"previous": 9.0}
    ),
    "nms_match": Example(_masked(_scored), large=600),
    "normalise_focal_loss": Example(
        lambda draw, n: {"losses": draw.uniform(IMAGES, n, CLASSES), "labels": draw.labels(IMAGES, n)},
        options=_C,
        gradient=("losses",),
    ),
    "normalised_entropy": Example(_counts, options={"present_only": True}),
    "objectness_filter": Example(
        lambda draw, n: {"labels": draw.labels(IMAGES, n), "objectness": draw.uniform(IMAGES, n)},
        options={**_C, "threshold": 0.4},
    ),
    "objectness_filter_scores": Example(
        lambda draw, n: {"scores": draw.uniform(IMAGES, n, CLASSES + 1), "objectness": draw.uniform(IMAGES, n)},
        options={"threshold": 0.4},
        gradient=("scores",),
    ),
    "objectness_prior_sampling": Example(
        lambda draw, n: {**_keyed(draw, n), "objectness": draw.uniform(IMAGES, n)}, options=_C
    ),
    "online_hard_example_loss": Example(
        _roi_losses,
        options={**_C, "num_samples": 6},
        gradient=("classification_losses", "regression_losses"),
        large=600,
    ),
    "online_hard_example_mining": Example(_roi_losses, options={**_C, "num_samples": 6}, large=600),
    "pairwise_giou": Example(_two_sets, gradient=("boxes", "other_boxes")),
    "pairwise_intersection": Example(_two_sets, gradient=("boxes", "other_boxes")),
    "pairwise_intersection_over_area": Example(
        lambda draw, n: {"boxes": draw.boxes(n), "regions": draw.boxes(OBJECTS)}, gradient=("boxes",)
    ),
    "pairwise_iou": Example(_two_sets, gradient=("boxes", "other_boxes")),
    "perplexity": Example(_counts),
    "pull_loss": Example(_tags, gradient=("top_left_tags", "bottom_right_tags")),
    "pull_loss: masked": Example(_masked(_tags, "object_mask"), gradient=("top_left_tags", "bottom_right_tags")),
    "push_loss": Example(_tags, gradient=("top_left_tags", "bottom_right_tags"), large=600),
    "push_loss: masked": Example(
        _masked(_tags, "object_mask"), gradient=("top_left_tags", "bottom_right_tags"), large=600
    ),
    "quality_focal_loss": Example(_soft, gradient=("logits",)),
    "quality_focal_loss_with_labels": Example(_soft_labels, gradient=("logits",)),
    "random_sampling": Example(_keyed, options={**_C, "num_samples": 6, "negatives_per_positive": 3.0}),
    "repeat_counts": Example(
        lambda draw, n: {"repeat_factors": draw.uniform(n, low=1.0, high=3.0), "keys": draw.uniform(n)}
    ),
    "repeated_images": Example(_repeated, alone=_OF_THE_DATA_SET),
    "requested_ious": Example(_requested),
    "requested_ious: quota": Example(_requested, options={"allocation": "quota"}),
    "retinanet_anchor_census": Example(
        lambda draw, _: {"gt_boxes": draw.boxes(OBJECTS), "gt_labels": draw.integers(-1, CLASSES, OBJECTS)},
        options={**_C, "height": 40, "width": 60, "universe": "inside"},
        fixed="the objects of one image, which are taken a few at a time",
    ),
    "retinanet_anchors": Example(sizes=lambda n: {"height": 32 * n, "width": 96}, alone=_MAP, large=500),
    "score_hierarchical_local_rank": Example(
        lambda draw, n: {"scores": draw.uniform(IMAGES, n), "groups": draw.integers(-1, OBJECTS, IMAGES, n)}
    ),
    "second_corner_limits": Example(
        lambda draw, n: {
            "corners": draw.uniform(n, 2, low=-0.4, high=0.2),
            "minimum_iou": draw.uniform(n, low=0.3, high=0.5),
        },
        gradient=("corners",),
    ),
    "seesaw_loss": Example(
        lambda draw, n: {
            "logits": draw.normal(n, CLASSES),
            "labels": draw.labels(n),
            "counts": draw.integers(1, 99, CLASSES),
        },
        gradient=("logits",),
    ),
    "sigmoid_focal_loss": Example(_sigmoid, gradient=("logits",)),
    "sigmoid_focal_loss_with_labels": Example(_sigmoid_labels, gradient=("logits",)),
    "sliding_windows": Example(
        sizes=lambda n: {"height": 4 * n, "width": 60},
        options={"window_height": 16, "window_width": 12, "stride": 4},
        alone=_MAP,
    ),
    "softmax_focal_loss": Example(_softmax_labels, gradient=("logits",)),
    "softmax_prior_probability_bias": Example(
        sizes=lambda n: {"num_classes": n}, fixed="the classes, whose number is a constant of a head", alone=_MAP
    ),
    "ssd_confidence_loss": Example(_softmax_labels, gradient=("logits",)),
    "stratified_hard_example_mining": Example(_losses, options={**_C, "num_samples": 8}),
    "switch_eligibility": Example(_switch_rule, options={"max_difference": 0.9}, large=500),
    "switch_instances": Example(
        lambda draw, n: {**_objects(draw, n), "images": draw.uniform(3, CLASSES, 12, 14)},
        gradient=("images",),
        large=500,
    ),
    "top_k_by_level": Example(lambda draw, n: {"scores": draw.uniform(IMAGES, n)}, options={"top_k": 6}),
    "top_k_by_level: masked": Example(
        _masked(_levels(lambda draw, n: {"scores": draw.uniform(IMAGES, n)})), options={"top_k": 6, "num_levels": 2}
    ),
    "total_census": Example(lambda draw, n: {"census": draw.census(n)}),
    "unit_region_counts": Example(_valid(_norms, "gradient_norms")),
    "unit_region_index": Example(_norms),
    "unit_region_weights": Example(_norms),
    "unit_region_weights: averaged": Example(
        _state(_valid(_norms, "gradient_norms")), options={"momentum": 0.7, "norm": "M"}
    ),
    "varifocal_loss": Example(_soft, gradient=("logits",)),
    "varifocal_loss_with_labels": Example(_soft_labels, gradient=("logits",)),
    "weights_by_class": Example(
        lambda draw, n: {"weights": draw.uniform(IMAGES, n), "labels": draw.labels(IMAGES, n)}, options=_C
    ),
}

HOST = {
    "ClassAwareSampler": "hands numbers of images to a loader, on the host",
    "RepeatFactorSampler": "hands numbers of images to a loader, on the host",
    "dropout_window_starts": "from numbers to a list of numbers",
    "prior_probability_bias": "from a number to a number",
    "resized_image_size": "from numbers to two numbers, which are shapes",
    "retinanet_feature_sizes": "from numbers to a list of pairs, which are shapes",
}
"""Public names that no tensor goes into or comes out of, and what they are."""


def results_and_gradients(function, entry, arguments):
    """What a call returns, flat, and the gradients of the sum of the squares of all that can be differentiated."""
    results = [leaf for leaf in tree_leaves(function(**arguments)) if isinstance(leaf, Tensor)]
    inputs = [arguments[name] for name in EXAMPLES[entry].gradient]
    if not inputs:
        return [result.detach() for result in results], []
    total = sum(result.double().square().sum() for result in results if result.requires_grad)
    return [result.detach() for result in results], list(torch.autograd.grad(total, inputs))


def function_of(entry, device="cpu"):
    """The public function of an entry of the table, with its options, and the device where it takes one."""
    function = getattr(room, entry.partition(":")[0])
    options = dict(EXAMPLES[entry].options)
    if "device" in signature(function).parameters:
        options["device"] = device
    return partial(function, **options)
