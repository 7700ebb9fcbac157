"""IoU-HLR and ISR-P: agreement with the reference, and what only the implementation promises."""

from importlib.resources import files
from itertools import product

import numpy as np
import pytest
import torch

from steelyard.impl.soft_sampling.pisa import DENOMINATORS, iou_hierarchical_local_rank, isr_p_weights
from steelyard.reference.detection.box_overlaps import aligned_iou
from steelyard.reference.soft_sampling import pisa as reference

DTYPES = {torch.float64: 1e-13, torch.float32: 4e-6, torch.float16: 4e-6, torch.bfloat16: 4e-6}
C = 4


def _batch(seed, dtype=torch.float64, shape=(3, 40)):
    """IoU with ties and NaN, losses, labels with background and padding, gt index, images that span rows."""
    generator = torch.Generator().manual_seed(seed)
    iou = torch.randint(0, 17, shape, generator=generator) / 16
    iou[torch.rand(shape, generator=generator) < 0.1] = torch.nan
    iou[torch.rand(shape, generator=generator) < 0.1] *= -0.0
    losses = -torch.rand(shape, generator=generator, dtype=torch.float64).log()
    labels = torch.randint(-1, C + 1, shape, generator=generator)
    gt_index, image_index = (torch.randint(0, 4, shape, generator=generator) for _ in range(2))
    return iou.to(dtype), losses.to(dtype), labels, gt_index, image_index


def _numpy(*tensors):
    return [None if t is None else t.double().numpy() if t.is_floating_point() else t.numpy() for t in tensors]


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("with_images", [True, False])
def test_ranks_are_the_reference(dtype, with_images):
    """The same integers, with ties, signed zeros and NaN."""
    for seed in range(4):
        iou, _, labels, gt_index, image_index = _batch(seed, dtype)
        samples = (iou, labels, gt_index, image_index if with_images else None)

        rank = iou_hierarchical_local_rank(*samples, num_classes=C)

        np.testing.assert_array_equal(rank, reference.iou_hierarchical_local_rank(*_numpy(*samples), num_classes=C))
        assert rank.dtype == torch.int64


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize(("denominator", "gamma", "beta"), list(product(DENOMINATORS, [0.0, 2.0, 0.5], [0.0, 0.2])))
def test_weights_are_the_reference(dtype, denominator, gamma, beta):
    """Label weights among them, some of them 0."""
    options = {"num_classes": C, "denominator": denominator, "gamma": gamma, "beta": beta}
    for seed in range(2):
        samples = _batch(seed, dtype)
        label_weights = torch.randint(0, 4, samples[0].shape).to(dtype) / 2 if seed else None

        weights = isr_p_weights(*samples, label_weights, **options)

        expected = reference.isr_p_weights(*_numpy(*samples, label_weights), **options)
        np.testing.assert_allclose(weights.double(), expected, rtol=DTYPES[dtype])
        assert weights.dtype == torch.promote_types(dtype, torch.float32)


def test_three_images_of_a_detector():
    """Real scores, boxes and objects of three images: the case in which mmdet merges objects."""
    with np.load(str(files("steelyard.conformance") / "data" / "nanodet320_dense.npz")) as data:
        bins = torch.from_numpy(data["dfl_logits"]).double().softmax(-1)
        distances = (bins * torch.arange(8)).sum(-1).numpy() * data["stride"][:, None]
        boxes = np.concatenate([data["points"] - distances[..., :2], data["points"] + distances[..., 2:]], axis=-1)
        gt_index = data["assigned_gt"].astype(np.int64)
        gt = data["gt_offset"][:-1, None] + gt_index.clip(min=0)
        labels = np.where(gt_index >= 0, data["gt_class"][gt].astype(np.int64), 80)
        iou = aligned_iou(boxes.reshape(-1, 4), data["gt_boxes"][gt].reshape(-1, 4)).reshape(gt.shape)
        logits = torch.from_numpy(data["cls_logits"]).double()
    one_hot = torch.from_numpy(labels)[..., None] == torch.arange(80)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(logits, one_hot.double(), reduction="none")
    samples = (torch.from_numpy(iou), losses, torch.from_numpy(labels), torch.from_numpy(gt_index))

    for denominator in DENOMINATORS:
        weights = isr_p_weights(*samples, num_classes=80, denominator=denominator)
        expected = reference.isr_p_weights(*_numpy(*samples), num_classes=80, denominator=denominator)
        np.testing.assert_allclose(weights, expected, rtol=1e-12)
        positive = samples[2] < 80
        terms = losses.sum(-1)
        torch.testing.assert_close((weights * terms)[positive].sum(), terms[positive].sum(), rtol=1e-12, atol=0.0)
    assert positive.sum() == 184


def test_precision_of_integers_and_sums():
    """Float64 stays float64 between integer ranks; half losses are summed in float32; no sum overflows."""
    iou = torch.linspace(1, 0, 7, dtype=torch.float64)
    labels = gt_index = torch.zeros(7, dtype=torch.int64)

    for losses in (torch.full((7,), 6e4).half(), torch.full((7,), 3e38), torch.full((7,), 1e-38)):
        weights = isr_p_weights(iou, losses, labels, gt_index, num_classes=1, gamma=1.0)
        np.testing.assert_allclose(weights, np.arange(7, 0, -1) / 4, rtol=1e-6)
    weights = isr_p_weights(iou, torch.ones(7).double(), labels, gt_index, num_classes=1, gamma=1.0)
    np.testing.assert_allclose(weights, np.arange(7, 0, -1) / 4, rtol=1e-15)


def test_zero_losses_and_no_positives():
    """Ratio 1; background keeps its weight."""
    iou, zero, labels = torch.tensor([0.9, 0.8]), torch.zeros(2), torch.zeros(2, dtype=torch.int64)
    others = torch.tensor([1, -1])

    assert isr_p_weights(iou, zero, labels, labels, num_classes=1).tolist() == [1.0, 0.25]
    for denominator in DENOMINATORS:
        others = isr_p_weights(
            iou, zero, labels + torch.tensor([1, -1]), labels, num_classes=1, denominator=denominator
        )
        assert others.tolist() == [1.0, 0.0]
    for shape in ((0,), (2, 0), (0, 3)):
        empty = torch.zeros(shape, dtype=torch.int64)
        assert isr_p_weights(empty.float(), empty.float(), empty, empty, num_classes=2).shape == shape


def test_padding_changes_nothing():
    """Label -1, with whatever beside it, and more images without positives."""
    iou, losses, labels, gt_index, _ = _batch(5)
    expected = isr_p_weights(iou, losses, labels, gt_index, num_classes=C)

    pad = torch.nn.functional.pad
    padded = isr_p_weights(
        pad(iou, (0, 7, 0, 1), value=torch.inf),
        pad(losses, (0, 7, 0, 1), value=torch.nan),
        pad(labels, (0, 7, 0, 1), value=-1),
        pad(gt_index, (0, 7, 0, 1), value=2**40),
        num_classes=C,
    )

    torch.testing.assert_close(padded[:3, :40], expected)
    assert (padded[:, 40:] == 0).all()
    assert (padded[3] == 0).all()


def test_nan_loss_of_a_positive_is_seen():
    """Not hidden by the rule for a sum of 0."""
    labels = torch.zeros(2, dtype=torch.int64)

    weights = isr_p_weights(torch.ones(2), torch.tensor([torch.nan, 1.0]), labels, labels, num_classes=1)

    assert weights.isnan().all()


def test_weights_are_constants_and_inputs_stay():
    """No gradient into the weights, nothing is written to, any layout."""
    iou, losses, labels, gt_index, image_index = _batch(6)
    label_weights = torch.full(iou.shape, 0.5)
    before = [t.clone() for t in (iou, losses, labels, gt_index, image_index, label_weights)]
    iou.requires_grad_()
    losses.requires_grad_()

    weights = isr_p_weights(iou, losses, labels, gt_index, image_index, label_weights, num_classes=C)
    turned = [t.t().contiguous().t() for t in (iou, losses, labels, gt_index, image_index, label_weights)]

    assert not weights.requires_grad
    torch.testing.assert_close(isr_p_weights(*turned, num_classes=C), weights)
    after = (iou, losses, labels, gt_index, image_index, label_weights)
    assert all(torch.equal(a.detach().nan_to_num(-9), b.nan_to_num(-9)) for a, b in zip(after, before, strict=True))


def test_small_integers_of_any_kind():
    """int32, uint8 and bool ids: class times length does not overflow."""
    iou, losses = torch.rand(2, 300), torch.rand(2, 300)
    labels, gt_index = torch.randint(0, 2, (2, 300)), torch.randint(0, 2, (2, 300))

    for labels_dtype, gt_dtype in ((torch.uint8, torch.int32), (torch.bool, torch.bool)):
        actual = isr_p_weights(iou, losses, labels.to(labels_dtype), gt_index.to(gt_dtype), num_classes=2)
        torch.testing.assert_close(actual, isr_p_weights(iou, losses, labels, gt_index, num_classes=2))


def test_vmap_is_one_mini_batch_a_call():
    """Under vmap ranks and ratio are of each row by itself."""
    iou, losses, labels, gt_index, _ = _batch(7)

    def function(*samples):
        return isr_p_weights(*samples, num_classes=C, denominator="max")

    rows = [function(*row) for row in zip(iou, losses, labels, gt_index, strict=True)]
    torch.testing.assert_close(torch.vmap(function)(iou, losses, labels, gt_index), torch.stack(rows))


def test_runs_without_data_and_compiles_whole():
    """No value is looked at on the host, no graph break."""

    def everything(*samples):
        weights = [isr_p_weights(*samples, num_classes=C, denominator=d) for d in DENOMINATORS]
        iou, _, labels, *ids = samples
        return *weights, iou_hierarchical_local_rank(iou, labels, *ids, num_classes=C)

    samples = _batch(8, torch.float32)

    compiled = torch.compile(everything, fullgraph=True, backend="aot_eager")(*samples)

    torch.testing.assert_close(compiled, everything(*samples))
    assert [t.shape for t in everything(*(t.to("meta") for t in samples))] == [(3, 40)] * 3


@pytest.mark.parametrize(
    ("change", "error", "message"),
    [
        ({"iou": torch.zeros(2, dtype=torch.int64)}, TypeError, "iou: expected a floating dtype"),
        ({"labels": torch.zeros(2)}, TypeError, "labels: expected a bool or integer dtype"),
        ({"labels": torch.zeros(3, dtype=torch.int64)}, ValueError, "labels: expected shape"),
        ({"gt_index": torch.zeros(3, dtype=torch.int64)}, ValueError, "gt_index: expected shape"),
        ({"image_index": torch.zeros(2)}, TypeError, "image_index: expected a bool or integer"),
        ({"classification_losses": torch.zeros(3)}, ValueError, "classification_losses: expected shape"),
        ({"classification_losses": torch.zeros(2, 3, 4)}, ValueError, "classification_losses: expected shape"),
        ({"label_weights": torch.zeros(3)}, ValueError, "label_weights: expected shape"),
        ({"num_classes": 0}, ValueError, "num_classes: expected an int >= 1"),
        ({"gamma": -1.0}, ValueError, "gamma: expected a number >= 0"),
        ({"beta": 1.5}, ValueError, "beta: expected a number in"),
        ({"denominator": "n"}, ValueError, "denominator: expected one of"),
        ({"iou": torch.zeros(())}, ValueError, "iou: expected shape"),
    ],
)
def test_bad_arguments_are_named(change, error, message):
    """Shapes, dtypes and Python numbers are checked."""
    ids = {"labels": torch.zeros(2, dtype=torch.int64), "gt_index": torch.zeros(2, dtype=torch.int64)}
    arguments = {"iou": torch.ones(2), "classification_losses": torch.ones(2), "num_classes": 1} | ids | change

    with pytest.raises(error, match=message):
        isr_p_weights(**arguments)
