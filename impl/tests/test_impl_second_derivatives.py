"""First and second derivatives of the losses whose own tests do not have both: the exact GHM, what is made of parts."""

import pytest
import torch
from torch.autograd import gradcheck, gradgradcheck

import steelyard.impl as room

LABELS = torch.tensor([[1, 2, -1, 0], [2, 2, 0, 2]])
VALID = torch.tensor([[True, False, True, True]])
CORNERS = torch.tensor([0.3, 1.6, 2.9, 0.2], dtype=torch.float64)


def _logits(*shape):
    """Of gradient norms between 0.27 and 0.73, whose windows lie inside of [0, 1], and no two at a window's edge."""
    count = torch.Size(shape).numel()
    return torch.linspace(-0.97, 0.94, count, dtype=torch.float64)[torch.arange(count) * 5 % count].reshape(shape)


LOSSES = {
    "exact_ghm_classification_loss": (
        lambda x: room.exact_ghm_classification_loss(x, x.detach() > 0.2, VALID, epsilon=0.1),
        lambda: [_logits(1, 4)],
    ),
    "exact_ghm_regression_loss": (
        lambda p, t: room.exact_ghm_regression_loss(p, t, VALID, epsilon=0.1, mu=0.5),
        lambda: [0.3 + 0.2 * _logits(1, 4), torch.zeros(1, 4, dtype=torch.float64)],
    ),
    "normalise_focal_loss": (
        lambda x: room.normalise_focal_loss(x**2, LABELS, num_classes=2),
        lambda: [_logits(2, 4, 2)],
    ),
    "generalized_focal_detection_loss": (
        # not by the class logits, whose scores weigh the other terms as constants; the quality focal loss has its own
        lambda z, g: room.generalized_focal_detection_loss(
            _logits(2, 4, 2), LABELS, torch.full((2, 4), 0.6, dtype=torch.float64), z, CORNERS.expand(2, 4, 4), g
        ),
        lambda: [_logits(2, 4, 4, 4), _logits(2, 4).square()],
    ),
}


@pytest.mark.parametrize("name", LOSSES)
def test_derivatives_of_both_orders(name):
    """By finite differences in float64; counts and weights are constants, which small steps do not change."""
    loss, inputs = LOSSES[name]
    tensors = tuple(tensor.clone().requires_grad_() for tensor in inputs())

    assert gradcheck(loss, tensors)
    assert gradgradcheck(loss, tensors)
