"""Sum of the harmonized cross entropies: GHM-C times its number of examples, never formed in half precision.

Specification: `steelyard.reference.soft_sampling.ghm_classification_sum`.
"""

from torch import Tensor

from steelyard.impl.soft_sampling.ghm import ghm_classification_loss


def ghm_classification_sum(
    logits: Tensor, targets: Tensor, valid: Tensor, *, bins: int = 10, norm: str = "nonempty"
) -> Tensor:
    """GHM-C before its division by the number of examples; without a moving average.

    Shapes: `logits` float (...,), `targets` bool or int 0/1 (...,), `valid` bool (...,) -> (); float32 for half inputs.
    Specification: `steelyard.reference.ghm_classification_sum`.
    """
    mean = ghm_classification_loss(logits, targets, valid, bins=bins, norm=norm).loss
    return mean * (valid.bool() & ~logits.isnan()).sum()
