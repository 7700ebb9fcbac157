"""The fast form of A-Fast-RCNN's search and dropout."""

import numpy as np
import pytest
import torch

from steelyard.impl.generative import adversarial_dropout as dropout
from steelyard.impl.generative import hardest_window as search
from steelyard.reference.generative import adversarial_dropout as dropout_oracle
from steelyard.reference.generative import hardest_window as search_oracle

K = 3
DTYPES = [torch.float64, torch.float32, torch.float16, torch.bfloat16]


def _rois(seed, dtype=torch.float64, cells=7):
    """Features and weights in eighths, so that sums are exact and ties are ties."""
    generator = torch.Generator().manual_seed(seed)
    features = torch.randint(0, 9, (6, 4, cells, cells), generator=generator).to(dtype) / 8
    weights = torch.randint(-4, 5, (K, 4, cells, cells), generator=generator).to(dtype) / 8
    return features, weights, torch.tensor([0, 2, K, 1, -1, 0])


def _numpy(*tensors):
    return [t.double().numpy() if t.is_floating_point() else t.numpy() for t in tensors]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("window", "stride"), [(2, 2), (3, 3), (2, 1), (7, 1), (1, 3)])
def test_the_search_is_the_references(dtype, window, stride):
    """Masks, blocked features and the window of the linear score, bit for bit."""
    features, weights, labels = _rois(window, dtype)
    options = {"window": window, "stride": stride}

    masks = search.dropout_window_masks(7, **options)
    blocked = search.features_without_windows(features, **options)
    hardest = search.hardest_window_of_linear_score(features, weights, labels, **options)

    np.testing.assert_array_equal(masks, search_oracle.dropout_window_masks(7, **options))
    np.testing.assert_array_equal(
        blocked.double(), search_oracle.features_without_windows(*_numpy(features), **options)
    )
    expected = search_oracle.hardest_window_of_linear_score(*_numpy(features, weights, labels), **options)
    np.testing.assert_array_equal(hardest, expected)


@pytest.mark.parametrize("objective", search.OBJECTIVES)
def test_scores_of_any_head(objective):
    """The first of equal scores; nothing for what is not foreground."""
    scores = torch.randint(0, 5, (6, 16), generator=torch.Generator().manual_seed(1)) / 4.0
    masks, labels = search.dropout_window_masks(7), _rois(0)[2]

    hardest = search.hardest_dropout_window(scores, masks, labels, num_classes=K, objective=objective)

    np.testing.assert_array_equal(hardest, search_oracle.hardest_dropout_window(
        *_numpy(scores, masks, labels), num_classes=K, objective=objective))  # fmt: skip


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("candidates", "dropped"), [(20, 15), (60, 50), (3, 3), (5, 0)])
def test_draws_what_the_reference_draws(dtype, candidates, dropped):
    """Also in half precision, where many probabilities and keys are equal."""
    generator = torch.Generator().manual_seed(dropped)
    probabilities = torch.rand((6, 7, 7), generator=generator).to(dtype)
    keys = (torch.rand((6, 7, 7), generator=generator) * 0.99).to(dtype)
    options = {"num_classes": K, "num_candidates": candidates, "num_dropped": dropped}
    labels = _rois(0)[2]

    mask = dropout.adversarial_dropout_mask(probabilities, labels, keys, **options)

    expected = dropout_oracle.adversarial_dropout_mask(*_numpy(probabilities, labels, keys), **options)
    np.testing.assert_array_equal(mask, expected)


def test_rewards_at_the_margin():
    """The margin of 0.1, and drops that are the margin."""
    before, after = torch.tensor([0.5, 0.5, 0.5, 0.5]), torch.tensor([0.25, 0.125, 0.0, 0.0])
    labels = torch.tensor([0, 0, K, -1])

    assert dropout.dropout_is_rewarded(before, after, labels, num_classes=K).tolist() == [True, True, False, False]
    at_it = dropout.dropout_is_rewarded(before, after, labels, num_classes=K, margin=0.25)
    assert at_it.tolist() == [False, True, False, False]


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [1.0, 30.0, 800.0])
def test_loss_and_gradient_are_the_references(dtype, size):
    """Exact far out on both sides; float32 for half inputs."""
    generator = torch.Generator().manual_seed(2)
    logits = (size * torch.randn((4, 7, 7), generator=generator)).to(dtype).requires_grad_()
    targets = torch.rand((4, 7, 7), generator=generator) < 0.3
    rewarded = torch.tensor([True, False, True, True])

    loss = dropout.dropout_mask_loss(logits, targets, rewarded)
    loss.backward()

    arrays = _numpy(logits.detach(), targets, rewarded)
    rtol = 1e-13 if dtype == torch.float64 else 2e-6
    np.testing.assert_allclose(loss.double().item(), dropout_oracle.dropout_mask_loss(*arrays), rtol=rtol)
    if dtype in (torch.float64, torch.float32):
        gradient = dropout_oracle.dropout_mask_loss_grad(*arrays)
        np.testing.assert_allclose(logits.grad.double(), gradient, rtol=rtol, atol=1e-30)


def test_gradients_of_the_loss_and_what_is_left_out():
    """First and second derivatives; NaN in an RoI without reward stays there."""
    logits = torch.randn((2, 3, 3), dtype=torch.float64, requires_grad=True)
    targets, rewarded = torch.rand((2, 3, 3)) < 0.5, torch.tensor([True, False])

    def loss(x):
        return dropout.dropout_mask_loss(x, targets, rewarded)

    assert torch.autograd.gradcheck(loss, logits)
    assert torch.autograd.gradgradcheck(loss, logits)
    spoilt = torch.cat([torch.zeros(1, 3, 3), torch.full((1, 3, 3), torch.nan)]).requires_grad_()
    loss(spoilt).backward()
    assert torch.isfinite(spoilt.grad).all()


def test_empty_batches():
    """No RoI: empty masks, a loss of 0."""
    labels = torch.zeros(0, dtype=torch.int64)

    assert search.hardest_window_of_linear_score(torch.zeros(0, 4, 7, 7), _rois(0)[1], labels).shape == (0, 7, 7)
    assert search.features_without_windows(torch.zeros(0, 4, 7, 7)).shape == (0, 16, 4, 7, 7)
    empty = torch.zeros(0, 7, 7)
    assert dropout.adversarial_dropout_mask(empty, labels, empty, num_classes=K).shape == (0, 7, 7)
    assert dropout.dropout_mask_loss(empty, empty.bool(), labels.bool()) == 0.0


def test_runs_without_data_and_compiles_whole():
    """No value is looked at on the host, no graph break: search, draw and loss in one graph."""

    def step(features, weights, labels, keys):
        window = search.hardest_window_of_linear_score(features, weights, labels)
        scores = search.features_without_windows(features).sum(dim=(2, 3, 4))
        masks = search.dropout_window_masks(features.shape[-1], device=features.device)
        other = search.hardest_dropout_window(scores, masks, labels, num_classes=K)
        drawn = dropout.adversarial_dropout_mask(keys, labels, keys, num_classes=K)
        return dropout.dropout_mask_loss(features[:, 0], window | drawn | other, labels == 0), drawn

    features, weights, labels = _rois(3, torch.float32)
    keys = torch.rand((6, 7, 7))
    on_meta = step(*(t.to("meta") for t in (features, weights, labels, keys)))
    assert [t.shape for t in on_meta] == [(), (6, 7, 7)]
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    for one, two in zip(compiled(features, weights, labels, keys), step(features, weights, labels, keys), strict=True):
        torch.testing.assert_close(one, two)


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: search.dropout_window_starts(2, window=3), ValueError, "window"),
        (lambda: search.features_without_windows(torch.zeros(1, 2, 3)), ValueError, "features: expected shape"),
        (lambda: search.features_without_windows(torch.zeros(1, 2, 3, 3).long()), TypeError, "features"),
        (
            lambda: search.hardest_dropout_window(
                torch.zeros(1, 3), search.dropout_window_masks(4), torch.zeros(1).long(), num_classes=1
            ),
            ValueError,
            "scores: expected shape",
        ),
        (
            lambda: search.hardest_dropout_window(
                torch.zeros(1, 3), torch.zeros(3, 2, 1).bool(), torch.zeros(1).long(), num_classes=1
            ),
            ValueError,
            "masks: expected shape",
        ),
        (
            lambda: search.hardest_window_of_linear_score(
                torch.zeros(1, 1, 3, 3), torch.zeros(1, 2, 3, 3), torch.zeros(1).long()
            ),
            ValueError,
            "weights: expected shape",
        ),
        (
            lambda: dropout.adversarial_dropout_mask(
                torch.zeros(1, 2, 2), torch.zeros(1).long(), torch.zeros(1, 2, 2), num_classes=1, num_dropped=21
            ),
            ValueError,
            "num_dropped",
        ),
        (
            lambda: dropout.dropout_is_rewarded(torch.tensor(0.5), torch.tensor(0.5), torch.tensor(0), num_classes=1),
            ValueError,
            "before: expected shape",
        ),
        (
            lambda: dropout.dropout_mask_loss(torch.zeros(1, 2, 3), torch.zeros(1, 2, 3).bool(), torch.ones(1).bool()),
            ValueError,
            "logits: expected shape",
        ),
    ],
)
def test_bad_input_is_refused(call, error, message):
    """Shapes, dtypes and Python numbers: what needs no look at the data."""
    with pytest.raises(error, match=message):
        call()
