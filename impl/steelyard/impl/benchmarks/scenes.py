"""Inputs of the size and the make that a dense detector trains with: a thousand background anchors an object."""

import torch
from torch import Generator, Tensor

FOREGROUND = 0.001


def detector_logits(shape: tuple[int, ...], device: torch.device, generator: Generator) -> Tensor:
    """Logits that expect background, as every detector's do soon after its prior of 0.01; to be differentiated."""
    return (torch.randn(shape, generator=generator, device=device) * 2.0 - 4.0).requires_grad_()


def anchor_labels(shape: tuple[int, ...], num_classes: int, device: torch.device, generator: Generator) -> Tensor:
    """Class ids, `num_classes` for background: 99.9 % of the anchors. At least one anchor is foreground."""
    classes = torch.randint(num_classes, shape, generator=generator, device=device)
    foreground = torch.rand(shape, generator=generator, device=device) < FOREGROUND
    foreground.view(-1)[0] = True
    return torch.where(foreground, classes, num_classes)


def one_hot(labels: Tensor, num_classes: int) -> Tensor:
    """Targets, bool (..., C): all False for background."""
    return labels.unsqueeze(-1) == torch.arange(num_classes, device=labels.device)
