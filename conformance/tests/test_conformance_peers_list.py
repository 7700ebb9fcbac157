"""Every deviation that is known of the real libraries: found by the suite, and explained by the right mistake."""

import pytest

pytestmark = pytest.mark.peers

DEVIATIONS = [
    # 1. SSD's loss: positives fill the quota where negatives are few
    ("torchvision", "ssd_confidence_loss", {"SSD-2": "ssd/positives-count-twice"}),
    # 2. an object that overlaps nothing claims candidates
    (
        "torchvision",
        "max_iou_matching",
        {"MATCH-3": "matching/invisible-claims", "MATCH-8": "matching/best-by-argmax"},
    ),
    ("mmdet", "max_iou_matching", {"MATCH-3": "matching/overwritten-and-invisible"}),
    ("mmdet", "max_iou_assignment", {"ASG-3": "assignment/overwritten-and-invisible"}),
    # 3. NaN gradient below a gamma of 1; 13. soft targets
    (
        "torchvision",
        "sigmoid_focal_loss",
        {"FL-7": "focal/power-rule", "FL-22": "focal/soft-by-mixed-probability"},
    ),
    ("fvcore", "sigmoid_focal_loss", {"FL-7": "focal/power-rule", "FL-22": "focal/soft-by-mixed-probability"}),
    ("mmdet", "sigmoid_focal_loss", {"FL-7": "focal/direct-power-rule", "FL-22": "focal/soft-by-mixed-probability"}),
    (
        "pytorch_toolbelt",
        "sigmoid_focal_loss",
        {"FL-7": "focal/power-rule", "FL-22": "focal/soft-by-mixed-probability"},
    ),
    ("imbalanced_losses", "sigmoid_focal_loss", {"FL-7": "focal/power-rule"}),
    ("kornia", "sigmoid_focal_loss", {"FL-22": "focal/soft-by-mixed-losses"}),
    ("monai", "sigmoid_focal_loss", {"FL-22": "focal/soft-by-mixed-logit"}),
    # 4. ISR-P: objects of different images merge; the caller's weights are overwritten
    (
        "mmdet",
        "isr_p_weights",
        {"IP-2": "isr-p/offset-not-accumulated", "IP-18": "isr-p/written-into-label-weights"},
    ),
    # 5. Libra R-CNN's samplers
    (
        "mmdet",
        "iou_balanced_negatives",
        {"IBN-6": "iou-balanced/largest-left-out", "IBN-7": "iou-balanced/floor-moved"},
    ),
    ("mmdet", "instance_balanced_positives", {"IBP-2": "instance-balanced/own-repeats"}),
    # 6. GHM-C in float16; its sum
    ("mmdet", "ghm_classification_sum", {f"GHMS-{number}": "ghm-sum/raises" for number in range(1, 11)}),
    ("mmdet", "ghm_classification_loss", {"GHMC-10": "ghm-classification/half-weighted"}),
    # 7. mmdet: the last bin, targets below the first; avg_factor 0; weights, reduction, no samples; overlaps
    (
        "mmdet",
        "distribution_focal_loss",
        {"DFL-4": "distribution-focal/index-error", "DFL-20": "distribution-focal/extrapolating"},
    ),
    ("mmdet", "normalise_focal_loss", {"NORM-3": "focal-normaliser/epsilon-for-floor"}),
    (
        "mmdet",
        "equalization_loss_v2",
        {
            "EQV-6": "equalization/weights-ignored",
            "EQV-7": "equalization/reduction-ignored",
            "EQV-14": "equalization/nan-without-samples",
            "EQV-20": "equalization/reduction-ignored",
        },
    ),
    ("mmdet", "distances_from_boxes", {"DFB-11": "distances/one-point-for-all"}),
    ("mmdet", "boxes_from_distances", {"BFD-9": "boxes/one-point-for-all"}),
    ("mmdet", "pairwise_iou", {"IOU-6": "iou/clamped-union", "IOU-7": "iou/half-and-clamped"}),
    # 8. balanced-loss at a logit of -89 and without positives; cbloss
    (
        "balanced_loss",
        "sigmoid_focal_loss",
        {"FL-5": "focal/overflowing-exponent", "FL-6": "focal/overflowing-exponent"},
    ),
    (
        "balanced_loss",
        "normalise_focal_loss",
        {"NORM-3": "focal-normaliser/no-floor", "NORM-9": "focal-normaliser/no-floor"},
    ),
    ("balanced_loss", "class_balanced_loss", {"CBL-10": "class-balanced-loss/overflowing-factor"}),
    ("cbloss", "sigmoid_focal_loss", {"FL-7": "focal/alpha-on-both-rounded"}),
    ("cbloss", "class_balanced_weights", {"CBW-4": "class-balanced-weights/official"}),
    ("cbloss", "class_balanced_loss", {"CBL-16": "class-balanced-loss/nan-without-samples"}),
    # 9. not a softmax focal loss
    (
        "pytorch_toolbelt",
        "softmax_focal_loss",
        {"SFL-3": "softmax-focal/per-channel-binary", "SFL-7": "softmax-focal/per-channel-binary"},
    ),
    # 10. monai's sum, its quota of negatives; kornia's alpha and mean
    ("monai", "normalise_focal_loss", {"NORM-1": "focal-normaliser/spatial-mean"}),
    ("monai", "stratified_hard_example_mining", {"SH-3": "stratified/negatives-by-ratio"}),
    (
        "monai",
        "hard_negative_mining",
        {"HN-3": "hard-negatives/at-least-one-positive", "HN-5": "hard-negatives/at-least-one-positive"},
    ),
    (
        "monai",
        "softmax_focal_loss",
        {
            "SFL-1": "softmax-focal/first-class-is-background",
            "SFL-2": "softmax-focal/first-class-and-power-rule",
            "SFL-7": "softmax-focal/first-class-and-power-rule",
        },
    ),
    ("kornia", "softmax_focal_loss", {"SFL-1": "softmax-focal/first-class-is-background"}),
    ("kornia", "normalise_focal_loss", {"NORM-1": "focal-normaliser/by-elements"}),
    # 11. a point with itself; rounded anchors
    ("torchvision", "pairwise_iou", {"IOU-3": "iou/zero-by-zero"}),
    ("torchvision", "cell_anchors", {"CELL-1": "cell/rounded"}),
    # 12. counts in half precision (that mmengine rounds repeat factors up is a dialect, see below)
    ("mmdet", "seesaw_loss", {"SSW-14": "seesaw/counts-in-half"}),
    ("seesawloss", "seesaw_loss", {"SSW-14": "seesaw/counts-in-half"}),
]

DIALECTS = [
    ("mmdet", "iou_balanced_negatives", "authors_code"),  # 5. bins that span positives
    ("mmdet", "ghm_classification_loss", "authors_code"),  # 6. the moving average: its first step, its empty bins
    ("mmengine", "repeat_counts", "ceil"),  # 12. rounded up
]

RIGHT = [
    ("kornia", "sigmoid_focal_loss"),
    ("obb_loss", "quality_focal_loss"),
    ("obb_loss", "varifocal_loss"),
    ("mmdet", "quality_focal_loss"),
    ("mmdet", "varifocal_loss"),
    ("mmdet", "classification_aware_regression_loss"),
    ("mmdet", "seesaw_loss"),
    ("mmdet", "stratified_hard_example_mining"),
    ("mmdet", "random_sampling"),
    ("mmdet", "ssd_confidence_loss"),
    ("torchvision", "random_sampling"),
    ("seesawloss", "seesaw_loss"),
]
"""No MUST is broken. That focal losses are right for gamma >= 1, ISR-P for two images and the weights of cbloss for
classes with samples is in the tests of these: other requirements hold there."""


@pytest.mark.parametrize(
    ("library", "technique", "mistakes"), DEVIATIONS, ids=[f"{library}-{of}" for library, of, _ in DEVIATIONS]
)
def test_a_known_deviation_is_found_and_named(libraries, library, technique, mistakes):
    """Each requirement is a strict known failure, and the mistake is the right one."""
    assert libraries.diagnose(library, technique, mistakes) == mistakes


@pytest.mark.parametrize(("library", "technique", "dialect"), DIALECTS)
def test_a_choice_is_a_dialect(libraries, library, technique, dialect):
    """Named, and told as a departure from the paper."""
    judged = libraries.judge(library, technique)

    assert judged.result.dialect == dialect


@pytest.mark.parametrize(("library", "technique"), RIGHT)
def test_what_is_right_conforms(libraries, library, technique):
    """No false alarm."""
    assert libraries.judge(library, technique).result.verdict == "conforms"
