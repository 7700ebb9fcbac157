"""IoU-HLR and ISR-P against mpmath at 50 digits, a definition by counting, and the paper's laws."""

import mpmath as mp
import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from steelyard.reference.checks import SpecError
from steelyard.reference.soft_sampling.pisa import DENOMINATORS, iou_hierarchical_local_rank, isr_p_weights

mp.mp.dps = 50
LABELS = [0, 0, 0, 0, 0, 1, 1, 1]
GT_INDEX = [0, 0, 0, 1, 1, 2, 2, 2]
IOU = [0.80, 0.65, 0.90, 0.75, 0.55, 0.60, 0.85, 0.70]
SCORES = [0.6, 0.2, 0.9, 0.5, 0.3, 0.4, 0.8, 0.25]
RANKS = [2, 4, 0, 1, 3, 2, 0, 1]
EXACT = {"rtol": 2e-15, "atol": 0.0}
C = 3


@st.composite
def batches(draw, *, ties=True, least=0):
    """IoU, losses, labels, gt index, image index: several images, ties and NaN, samples that are no positives."""
    n = draw(st.integers(least, 12))
    eighths = st.integers(0, 8).map(lambda i: i / 8)
    iou = draw(
        st.lists(eighths | st.just(np.nan) if ties else st.floats(0, 1), min_size=n, max_size=n, unique=not ties)
    )
    ids = [draw(st.lists(st.integers(0, 2), min_size=n, max_size=n)) for _ in range(2)]
    labels = draw(st.lists(st.sampled_from([0, 0, 1, 2, C, -1]), min_size=n, max_size=n))
    losses = draw(st.lists(st.floats(0.01, 5), min_size=n, max_size=n))
    return np.array(iou), np.array(losses), np.array(labels, dtype=int), *(np.array(i, dtype=int) for i in ids)


options = st.fixed_dictionaries(
    {"gamma": st.floats(0, 4), "beta": st.floats(0, 1), "denominator": st.sampled_from(DENOMINATORS)}
)


def _losses(scores=SCORES):
    return [float(-mp.log(p)) for p in scores]


def _expected_weights(ranks, labels, losses, gamma, beta, denominator):
    """Section 3 of the survey, sample by sample."""
    counts = {j: labels.count(j) for j in set(labels)}
    divisors = [counts[j] if denominator == "class" else max(counts.values()) for j in labels]
    u = [mp.mpf(d - r) / d for d, r in zip(divisors, ranks, strict=True)]
    w = [((1 - mp.mpf(beta)) * u_i + mp.mpf(beta)) ** mp.mpf(gamma) for u_i in u]
    losses = [mp.mpf(loss) for loss in losses]
    ratio = mp.fsum(losses) / mp.fsum(w_i * loss for w_i, loss in zip(w, losses, strict=True))
    return [float(w_i * ratio) for w_i in w]


def _is_positive(labels):
    return (labels >= 0) & (labels < C)


def test_worked_ranks():
    """Second bests come after all bests."""
    assert iou_hierarchical_local_rank(IOU, LABELS, GT_INDEX, num_classes=2).tolist() == RANKS


@pytest.mark.parametrize(
    ("gamma", "beta", "denominator", "digits"),
    [
        (2, 0, "class", [1.23950693673153282, 0.137722992970170313, 3.44307482425425782, 2.20356788752272501]),
        (2, 0, "max", [0.984909586386257742, 0.109434398487361971, 2.73585996218404928, 1.75095037579779154]),
        (
            1,
            0.2,
            "max",
            [1.06347097143395404, 0.563014043700328609, 1.56392789916757947, 1.31369943530076675, 0.813242507567141324],
        ),
        (1, 0.2, "class", [None, None, 1.70133790682663871, None]),
    ],
)
def test_worked_weights(gamma, beta, denominator, digits):
    """Both denominators, with and without a floor; the first ones as printed."""
    weights = isr_p_weights(
        IOU, _losses(), LABELS, GT_INDEX, num_classes=2, gamma=gamma, beta=beta, denominator=denominator
    )

    expected = _expected_weights(RANKS, LABELS, _losses(), gamma, beta, denominator)
    np.testing.assert_allclose(weights, expected, **EXACT)
    printed = [(w, d) for w, d in zip(weights, digits, strict=False) if d is not None]
    np.testing.assert_allclose(*zip(*printed, strict=True), **EXACT)
    assert float(mp.fsum(-mp.log(p) for p in SCORES)) == pytest.approx(6.6484726810520541, rel=1e-15)


def test_worked_second_class():
    """The printed weights of the class with three positives."""
    of_class = isr_p_weights(IOU, _losses(), LABELS, GT_INDEX, num_classes=2)
    of_max = isr_p_weights(IOU, _losses(), LABELS, GT_INDEX, num_classes=2, denominator="max")

    digits = [0.550891971880681252, 0.382563869361584203, 3.44307482425425782, 1.53025547744633681]
    np.testing.assert_allclose(of_class[4:], digits, **EXACT)
    digits = [0.437737593949447885, 0.984909586386257742, 2.73585996218404928, 1.75095037579779154]
    np.testing.assert_allclose(of_max[4:], digits, **EXACT)


def test_objects_of_three_images_do_not_merge():
    """Local ids 0, 0, 1 | 0 | 0, 0: mmdet ranks ids of images 2 and 3 as one object."""
    iou, image_index, gt_index = [0.9, 0.8, 0.7, 0.6, 0.95, 0.5], [0, 0, 0, 1, 2, 2], [0, 0, 1, 0, 0, 0]

    weights = isr_p_weights(iou, [1.0] * 6, [0] * 6, gt_index, image_index, num_classes=1)

    np.testing.assert_allclose(weights, np.array([150, 24, 96, 54, 216, 6]) / 91, **EXACT)


def test_rows_are_images():
    """Without an image index the last axis is one image."""
    iou, gt_index = [[0.9, 0.5], [0.8, 0.4], [0.7, 0.6]], [[0, 0], [0, 0], [0, 0]]

    weights = isr_p_weights(iou, np.ones((3, 2)), np.zeros((3, 2), int), gt_index, num_classes=1)

    np.testing.assert_allclose(weights[[0, 2], 1], [24 / 91, 54 / 91], **EXACT)
    rank = iou_hierarchical_local_rank(iou, np.zeros((3, 2), int), gt_index, num_classes=1)
    assert rank.tolist() == [[0, 4], [1, 5], [2, 3]]
    flat = isr_p_weights(np.ravel(iou), np.ones(6), np.zeros(6, int), [0] * 6, [0, 0, 1, 1, 2, 2], num_classes=1)
    np.testing.assert_array_equal(weights.ravel(), flat)


@given(batch=batches())
def test_rank_by_counting(batch):
    """The rank is the number of samples of the class that come before, with ties and NaN."""
    iou, _, labels, gt_index, image_index = batch
    value = np.where(np.isnan(iou), -np.inf, iou)
    indices = range(len(iou))
    names = list(zip(labels, gt_index, image_index, strict=True))

    def before(a, b):
        return value[a] > value[b] or (value[a] == value[b] and a < b)

    local = [sum(names[a] == names[b] and before(a, b) for a in indices) for b in indices]
    expected = [
        sum(
            labels[a] == labels[b] and (local[a] < local[b] or (local[a] == local[b] and before(a, b))) for a in indices
        )
        if _is_positive(labels[b])
        else -1
        for b in indices
    ]

    rank = iou_hierarchical_local_rank(iou, labels, gt_index, image_index, num_classes=C)

    assert rank.tolist() == expected


@given(batch=batches())
def test_ranks_are_permutations_led_by_the_best_of_every_object(batch):
    """0..n_j - 1 in every class; the first places go to one sample of each object."""
    iou, _, labels, gt_index, image_index = batch

    rank = iou_hierarchical_local_rank(iou, labels, gt_index, image_index, num_classes=C)

    for j in range(C):
        of_class = labels == j
        objects = list(zip(image_index[of_class], gt_index[of_class], strict=True))
        assert sorted(rank[of_class]) == list(range(of_class.sum()))
        first = [o for o, r in zip(objects, rank[of_class], strict=True) if r < len(set(objects))]
        assert sorted(first) == sorted(set(objects))


@given(batch=batches(ties=False), options=options)
def test_better_boxes_of_an_object_weigh_no_less(batch, options):
    """Within an object a higher IoU has the lower rank and, with gamma > 0 and beta < 1, the larger weight."""
    iou, losses, labels, gt_index, image_index = batch

    rank = iou_hierarchical_local_rank(iou, labels, gt_index, image_index, num_classes=C)
    weights = isr_p_weights(iou, losses, labels, gt_index, image_index, num_classes=C, **options)

    for a in range(len(iou)):
        for b in range(len(iou)):
            same = (labels[a], gt_index[a], image_index[a]) == (labels[b], gt_index[b], image_index[b])
            if same and _is_positive(labels[a]) and iou[a] > iou[b]:
                assert rank[a] < rank[b]
                assert weights[a] >= weights[b]


@given(batch=batches(ties=False))
def test_one_object_a_class_is_the_rank_by_iou(batch):
    """The hierarchy needs two objects."""
    iou, _, labels, _, _ = batch

    rank = iou_hierarchical_local_rank(iou, labels, np.zeros(len(iou), int), num_classes=C)

    for j in range(C):
        of_class = iou[labels == j]
        assert rank[labels == j].tolist() == [int((of_class > value).sum()) for value in of_class]


@given(batch=batches(), options=options)
def test_only_the_order_of_the_overlaps_counts(batch, options):
    """A strictly increasing map changes nothing."""
    iou, *rest = batch

    expected = isr_p_weights(iou, *rest, num_classes=C, **options)

    np.testing.assert_array_equal(isr_p_weights(100 * iou - 300, *rest, num_classes=C, **options), expected)


@given(batch=batches(), options=options, scale=st.sampled_from([1e-300, 1.0, 1e307]))
def test_total_loss_is_conserved(batch, options, scale):
    """The sum over positives stays, in any unit of the loss; the ratio is at least 1."""
    iou, losses, labels, *ids = batch
    positive = _is_positive(labels)

    weights = isr_p_weights(iou, losses * scale / 5, labels, *ids, num_classes=C, **options)

    np.testing.assert_allclose((weights * losses)[positive].sum(), losses[positive].sum(), rtol=1e-12)
    assert weights[positive].max(initial=1.0) >= 1 - 1e-12
    equal = isr_p_weights(iou, np.full(len(iou), 0.7), labels, *ids, num_classes=C, **options)
    np.testing.assert_allclose(equal[positive].sum(), positive.sum(), rtol=1e-12)


@given(batch=batches(least=1), options=options)
def test_range_before_the_ratio(batch, options):
    """In [((1 - beta) / D + beta)^gamma, 1]: weights divided by the largest, which has rank 0."""
    iou, losses, labels, *ids = batch
    positive = _is_positive(labels)
    assume(positive.any())
    counts = np.bincount(labels[positive])

    weights = isr_p_weights(iou, losses, labels, *ids, num_classes=C, **options)[positive]

    lowest = ((1 - options["beta"]) / counts.max() + options["beta"]) ** options["gamma"]
    assert weights.min() / weights.max() >= lowest * (1 - 1e-12)


@given(batch=batches(), denominator=st.sampled_from(DENOMINATORS))
def test_no_preference_is_no_change(batch, denominator):
    """gamma = 0 or beta = 1: weight 1 for positives and background, 0 for ignored samples."""
    iou, losses, labels, *ids = batch
    expected = np.where(labels == -1, 0.0, 1.0)

    for preference in ({"gamma": 0.0}, {"beta": 1.0}):
        weights = isr_p_weights(iou, losses, labels, *ids, num_classes=C, denominator=denominator, **preference)
        np.testing.assert_allclose(weights, expected, rtol=1e-14)


def test_one_positive_a_class_is_no_change_by_class():
    """n_j = 1: u = 1 for all."""
    assert isr_p_weights([0.1, 0.9], [1.0, 2.0], [0, 1], [0, 0], num_classes=2).tolist() == [1.0, 1.0]


def test_denominators_agree_for_equal_counts_only():
    """The same for 3 + 3, not for 4 + 2; the same for 5 + 1 too, where the single one has rank 0."""
    iou, losses, gt_index = [0.9, 0.8, 0.7, 0.6, 0.5, 0.4], [1.0, 2.0, 3.0, 4.0, 5.0, 6.0], [0] * 6

    for labels, agree in (([0, 0, 0, 1, 1, 1], True), ([0, 0, 1, 1, 1, 1], False), ([0, 1, 1, 1, 1, 1], True)):
        by_class, by_max = (
            isr_p_weights(iou, losses, labels, gt_index, num_classes=2, denominator=d) for d in DENOMINATORS
        )
        assert np.allclose(by_class, by_max, rtol=1e-12) == agree


@given(batch=batches(ties=False), options=options, seed=st.integers(0, 9))
def test_order_and_names_do_not_matter(batch, options, seed):
    """Permuted samples have permuted weights; classes, images and objects may be called otherwise."""
    iou, losses, labels, gt_index, image_index = batch
    order = np.random.default_rng(seed).permutation(len(iou))
    new_labels = np.where(_is_positive(labels), (labels + 1) % C, labels)

    expected = isr_p_weights(*batch, num_classes=C, **options)
    permuted = isr_p_weights(*(array[order] for array in batch), num_classes=C, **options)
    renamed = isr_p_weights(iou, losses, new_labels, 7 - gt_index, 50 - 3 * image_index, num_classes=C, **options)

    np.testing.assert_allclose(permuted, expected[order], rtol=1e-12)
    np.testing.assert_allclose(renamed, expected, rtol=1e-12)


def test_label_weights_stand_outside():
    """a = 1/2 halves the weight before the ratio; a = 0 has no rank, also with beta > 0."""
    iou, losses, labels, gt_index = [0.9, 0.8, 0.7], [1.0, 2.0, 3.0], [0, 0, 0], [0, 0, 0]

    weights = isr_p_weights(iou, losses, labels, gt_index, None, [0.5, 0.0, 1.0], num_classes=1, gamma=1.0, beta=0.2)

    ratio = (0.5 * 1 + 3) / (0.5 * 1 * 1 + 0.6 * 3)
    np.testing.assert_allclose(weights, [0.5 * ratio, 0.0, 0.6 * ratio], rtol=1e-15)


def test_others_keep_their_label_weight():
    """Background as given, ignored samples 0; no positive at all changes nothing else. NaN there is not looked at."""
    for labels, expected in (([1, -1, 1], [0.5, 0.0, 2.0]), ([0, -1, 1], [0.5, 0.0, 2.0])):
        weights = isr_p_weights(
            [np.nan] * 3, [1.0, np.nan, -1.0], labels, [0, -7, -1], None, [0.5, 3.0, 2.0], num_classes=1
        )
        assert weights.tolist() == expected
    assert isr_p_weights([], [], [], [], num_classes=1).shape == (0,)
    assert isr_p_weights(np.zeros((2, 0)), np.zeros((2, 0, 4)), [[], []], [[], []], num_classes=1).shape == (2, 0)


def test_zero_losses_have_ratio_one():
    """Perfect scores: no NaN."""
    assert isr_p_weights([0.9, 0.8], [0.0, 0.0], [0, 0], [0, 0], num_classes=1).tolist() == [1.0, 0.25]
    vanishing = isr_p_weights([0.9, 0.8], [0.0, 1.0], [0, 0], [0, 0], num_classes=1, gamma=1e5)
    assert vanishing.tolist() == [1.0, 0.0]


def test_ratio_is_of_the_batch_not_of_a_class():
    """Two classes: the sum of each class changes, the sum of both does not."""
    weights = isr_p_weights(IOU, _losses(), LABELS, GT_INDEX, num_classes=2)

    terms = weights * _losses()
    assert terms.sum() == pytest.approx(6.6484726810520541, rel=1e-15)
    assert abs(terms[:5].sum() - sum(_losses()[:5])) > 0.1


def test_channels_are_summed():
    """The loss of a sigmoid head has one term a class."""
    channels = np.random.default_rng(0).random((8, 5))

    actual = isr_p_weights(IOU, channels, LABELS, GT_INDEX, num_classes=2)

    expected = isr_p_weights(IOU, channels.sum(axis=1), LABELS, GT_INDEX, num_classes=2)
    np.testing.assert_allclose(actual, expected, rtol=1e-15)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"labels": [0, 2]}, "labels: expected integers in"),
        ({"labels": [0]}, "labels: expected shape"),
        ({"gt_index": [0.5, 0.5]}, "gt_index: expected integers"),
        ({"image_index": [0]}, "image_index: expected shape"),
        ({"classification_losses": [1.0, -1.0]}, "classification_losses: expected finite numbers >= 0"),
        ({"classification_losses": [1.0, np.nan]}, "classification_losses: expected finite numbers >= 0"),
        ({"classification_losses": [1.0]}, "classification_losses: expected shape"),
        ({"label_weights": [1.0, -1.0]}, "label_weights: expected numbers >= 0"),
        ({"label_weights": [1.0, np.inf]}, "label_weights: expected finite numbers"),
        ({"num_classes": 0}, "num_classes: expected an int >= 1"),
        ({"gamma": -1.0}, "gamma: expected a number >= 0"),
        ({"beta": 1.5}, "beta: expected a number in"),
        ({"denominator": "n_max"}, "denominator: expected one of class, max"),
        ({"iou": 0.5, "labels": 0, "gt_index": 0, "classification_losses": 1.0}, "iou: expected shape"),
    ],
)
def test_bad_arguments_are_named(change, message):
    """Every check names its argument."""
    arguments = {"iou": [0.5, 0.6], "labels": [0, 1], "gt_index": [0, 0], "num_classes": 1}
    arguments |= {"classification_losses": [1.0, 1.0], "labels": [0, 0]} | change

    with pytest.raises(SpecError, match=message):
        isr_p_weights(**arguments)
