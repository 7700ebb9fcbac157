"""Losses of one element each on the outputs of a trained detector: published sums, and the specification's values."""

from importlib.resources import files

import numpy as np
import pytest
import torch

from steelyard import impl, reference


@pytest.fixture(scope="module")
def detector():
    """Logits and labels of every point of three images, background 80."""
    with np.load(str(files("steelyard.conformance") / "data" / "nanodet320_dense.npz")) as data:
        logits = data["cls_logits"].astype(np.float64)
        assigned, first = data["assigned_gt"], data["gt_offset"][:-1, None]
        labels = np.where(assigned >= 0, data["gt_class"][first + assigned], 80).astype(np.int64)
    return logits, labels


@pytest.mark.parametrize(
    ("alpha", "gamma", "of_foreground", "of_background"),
    [(None, 0.0, 256.405890785019, 3540.29606547374), (0.25, 2.0, 39.2588635025195, 10.8234682779465)],
    ids=["cross-entropy", "focal"],
)
def test_focal_loss_has_the_published_sums(detector, alpha, gamma, of_foreground, of_background):
    """Foreground and background terms of the specification and of the implementation, from class labels."""
    logits, labels = detector
    foreground = labels[..., None] == np.arange(80)

    expected = reference.sigmoid_focal_loss_with_labels(logits, labels, alpha=alpha, gamma=gamma)
    actual = impl.sigmoid_focal_loss_with_labels(
        torch.from_numpy(logits), torch.from_numpy(labels), alpha=alpha, gamma=gamma
    ).numpy()

    for terms in (expected, actual):
        assert terms[foreground].sum() == pytest.approx(of_foreground, rel=1e-12)
        assert terms[~foreground].sum() == pytest.approx(of_background, rel=1e-12)
    np.testing.assert_allclose(actual, expected, rtol=1e-12, atol=1e-300)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float16], ids=str)
def test_varifocal_loss_agrees_with_the_specification(detector, dtype):
    """With a quality for the class of each foreground point, value and gradient."""
    logits, labels = detector
    quality = (np.arange(labels.size).reshape(labels.shape) % 7 + 1) / 8.0
    targets = np.where(labels[..., None] == np.arange(80), quality[..., None], 0.0)
    x = torch.from_numpy(logits).to(dtype).requires_grad_()

    actual = impl.varifocal_loss(x, torch.from_numpy(targets).to(dtype))
    (gradient,) = torch.autograd.grad(actual.sum(), x)

    rtol, atol = (1e-12, 1e-15) if dtype == torch.float64 else (1e-5, 1e-7)
    np.testing.assert_allclose(actual.detach(), reference.varifocal_loss(logits, targets), rtol=rtol, atol=atol)
    expected_gradient = reference.varifocal_loss_grad(logits, targets)
    rtol, atol = (1e-11, 1e-15) if dtype == torch.float64 else (1e-3, 1e-7)
    np.testing.assert_allclose(gradient, expected_gradient, rtol=rtol, atol=atol)
