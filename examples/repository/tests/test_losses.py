"""Of the loss: two numbers of our own, and everything that the technique demands."""

import math

import torch
from tinydetector.losses import focal_loss

from steelyard.conformance import conformance_tests

# One test for each requirement. What is judged are the losses of the elements, hence no reduction.
test_focal_loss = conformance_tests(
    "tinydetector.losses:focal_loss",
    technique="sigmoid_focal_loss",
    constants={"reduction": "none"},
    profile="quick",
)


def test_an_undecided_positive():
    """At a logit of 0: 1/4 of alpha, 1/4 of the focal factor, ln 2."""
    assert focal_loss(torch.zeros(1), torch.ones(1)).item() == torch.tensor(math.log(2) / 16).item()


def test_the_mean_is_over_all_elements():
    """Not over the positives."""
    losses = focal_loss(torch.zeros(4), torch.tensor([1, 0, 0, 0]), reduction="none")

    assert focal_loss(torch.zeros(4), torch.tensor([1, 0, 0, 0])) == losses.sum() / 4
