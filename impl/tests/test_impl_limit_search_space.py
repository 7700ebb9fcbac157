"""IoU lower bound and objectness filters for batches: the specification's answer, without looking at a value."""

import numpy as np
import pytest
import torch

from steelyard import impl, reference

DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def batch(seed):
    """Classes with ignored ones, numbers in 32nds, few different keys."""
    random = np.random.default_rng(seed)
    shape = (3, int(random.integers(0, 40)))
    return random.integers(-1, 3, shape), random.integers(0, 33, shape) / 32, random.integers(0, 64, shape) / 64


def same(actual, expected):
    for one, two in zip(actual, expected, strict=True):
        np.testing.assert_array_equal(one.numpy(), two)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("either_way")
def test_same_sample_in_the_range_as_specified(seed, dtype):
    """Ranges with ends on the IoUs, gaps, both roundings, with and without filling up."""
    classes, iou, keys = batch(seed)
    options = {
        "num_classes": 3, "foreground_iou": [0.5, 0.75][seed % 2], "background_low": [0.125, 0.0, 0.5][seed % 3],
        "background_high": 0.5, "num_samples": [6, 10, 30][seed % 3], "positive_fraction": 0.25,
        "rounding": ["down", "half_even"][seed // 3], "fill_from_below": seed % 2 == 1,
    }  # fmt: skip
    torches = torch.from_numpy(iou).to(dtype), torch.from_numpy(classes), torch.from_numpy(keys).to(dtype)

    same(
        impl.iou_lower_bound_sampling(*torches, **options),
        reference.iou_lower_bound_sampling(iou, classes, keys, **options),
    )


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("either_way")
def test_same_sample_by_objectness_as_specified(seed, dtype):
    """Thresholds on the objectness, images without positives, shares that leave a fraction of a negative."""
    labels, objectness, keys = batch(seed)
    labels = np.where(np.arange(3)[:, None] == 0, np.where(labels >= 0, 3, -1), labels)
    labels = np.where(labels == 2, 3, labels)
    options = {
        "num_classes": 3, "threshold": [0.5, 0.03, 0.0][seed % 3], "positive_fraction": [0.25, 0.4][seed % 2],
        "negatives_without_positives": [2, 0][seed // 3],
    }  # fmt: skip
    torches = torch.from_numpy(labels), torch.from_numpy(objectness).to(dtype), torch.from_numpy(keys).to(dtype)

    same(
        impl.objectness_prior_sampling(*torches, **options),
        reference.objectness_prior_sampling(labels, objectness, keys, **options),
    )


def test_a_threshold_between_two_numbers_of_the_format():
    """Compared in float64: the float32 nearest to 0.7 is below 0.7, that nearest to 0.1 above 0.1."""
    iou = torch.tensor([0.1, 0.7])

    labels = impl.iou_range_labels(iou, torch.zeros(2, dtype=torch.long), num_classes=1, foreground_iou=0.7,
                                   background_high=0.7)  # fmt: skip

    assert labels.tolist() == [1, 1]
    expected = reference.iou_range_labels(iou.numpy(), [0, 0], num_classes=1, foreground_iou=0.7, background_high=0.7)
    assert labels.tolist() == expected.tolist()


@pytest.mark.parametrize("dtype", DTYPES)
def test_scores_keep_their_format(dtype):
    """Below the threshold the background has 1, all others 0; no gradient reaches what is left out."""
    scores = torch.tensor([[0.25, 0.5, 0.25], [0.5, 0.25, 0.25]], dtype=dtype, requires_grad=True)

    masked = impl.objectness_filter_scores(scores, torch.tensor([0.001, 0.5], dtype=dtype))
    masked.sum().backward()

    assert masked.dtype == dtype
    assert masked.tolist() == [[0.0, 0.0, 1.0], [0.5, 0.25, 0.25]]
    assert scores.grad.tolist() == [[0.0] * 3, [1.0] * 3]


def test_runs_without_data_compiles_and_maps():
    """meta device, fullgraph, vmap: the shapes never depend on a value."""
    classes, iou, keys = (torch.from_numpy(a) for a in batch(0))

    def sample(classes, iou, keys):
        one = impl.iou_lower_bound_sampling(iou, classes, keys, num_classes=3, fill_from_below=True)
        return *one, *impl.objectness_prior_sampling(classes, iou, keys, num_classes=2)

    arguments = classes, iou, keys
    assert all(mask.shape == iou.shape for mask in sample(*(a.to("meta") for a in arguments)))
    compiled = torch.compile(sample, fullgraph=True, backend="aot_eager")(*arguments)
    for one, two, three in zip(sample(*arguments), compiled, torch.func.vmap(sample)(*arguments), strict=True):
        assert torch.equal(one, two)
        assert torch.equal(one, three)


@pytest.mark.parametrize(
    ("function", "options", "message"),
    [("iou_lower_bound_sampling", {"background_low": -0.1}, "background_low"),
     ("iou_lower_bound_sampling", {"rounding": "up"}, "rounding"),
     ("iou_lower_bound_sampling", {"num_samples": 0}, "num_samples"),
     ("objectness_prior_sampling", {"positive_fraction": 0.0}, "positive_fraction"),
     ("objectness_prior_sampling", {"threshold": 2.0}, "threshold"),
     ("objectness_prior_sampling", {"negatives_without_positives": -1}, "negatives_without_positives")],
)  # fmt: skip
def test_bad_options_are_named(function, options, message):
    """Each refusal says which option."""
    keys, labels = torch.zeros(3), torch.zeros(3, dtype=torch.long)
    arguments = (
        {"labels": labels, "objectness": keys} if "objectness" in function else {"max_iou": keys, "classes": labels}
    )
    with pytest.raises(ValueError, match=message):
        getattr(impl, function)(**arguments, keys=keys, num_classes=1, **options)


def test_scores_need_a_class_axis():
    """The background is the last of at least one."""
    with pytest.raises(ValueError, match="scores: expected shape"):
        impl.objectness_filter_scores(torch.tensor(0.5), torch.tensor(0.5))
