"""Exhaustive search for the window of pooled features whose loss hurts most, for all RoIs and windows at once.

Specification: `steelyard.reference.generative.hardest_window`.
"""

import torch
from torch import Tensor

from steelyard.impl.checks import compute_dtype, count, discrete_tensor, float_tensor, one_of

OBJECTIVES = ("probability", "loss")


def dropout_window_starts(num_cells: int, *, window: int = 2, stride: int = 2) -> list[int]:
    """First row, or column, of each window.

    Specification: `steelyard.reference.dropout_window_starts`.
    """
    count("num_cells", num_cells)
    count("stride", stride)
    if not 1 <= window <= num_cells:
        raise ValueError(f"window: expected an int in [1, {num_cells}], the cells of a row, got {window}")
    return sorted({min(start, num_cells - window) for start in range(0, num_cells, stride)})


def dropout_window_masks(
    num_cells: int, *, window: int = 2, stride: int = 2, device: torch.device | None = None
) -> Tensor:
    """Every window as a mask of the grid, True in the cells that it blocks; row by row.

    Shapes: -> bool (J, D, D), on `device`.
    Specification: `steelyard.reference.dropout_window_masks`.
    """
    starts = dropout_window_starts(num_cells, window=window, stride=stride)
    cells = torch.arange(num_cells, device=device)
    inside = torch.stack([(cells >= start) & (cells < start + window) for start in starts])
    return (inside[:, None, :, None] & inside[None, :, None, :]).flatten(0, 1)


def features_without_windows(features: Tensor, *, window: int = 2, stride: int = 2) -> Tensor:
    """Pooled features with each window in turn set to 0.

    Shapes: `features` float (P, C, D, D) -> (P, J, C, D, D).
    Specification: `steelyard.reference.features_without_windows`.
    """
    _feature_tensor(features)
    masks = dropout_window_masks(features.shape[-1], window=window, stride=stride, device=features.device)
    return features[:, None].masked_fill(masks[None, :, None], 0.0)


def hardest_dropout_window(
    scores: Tensor, masks: Tensor, labels: Tensor, *, num_classes: int, objective: str = "probability"
) -> Tensor:
    """The window without which each positive is recognised worst; nothing for what is not foreground.

    Shapes: `scores` float (P, J), `masks` bool (J, D, D), `labels` int (P,) -> bool (P, D, D).
    Specification: `steelyard.reference.hardest_dropout_window`.
    """
    float_tensor("scores", scores)
    if masks.ndim != 3 or masks.shape[1] != masks.shape[2] or len(masks) == 0:
        raise ValueError(f"masks: expected shape (J, D, D) with J >= 1, got {tuple(masks.shape)}")
    discrete_tensor("masks", masks, shape=masks.shape, of="its own")
    if scores.ndim != 2 or scores.shape[1] != len(masks):
        raise ValueError(f"scores: expected shape (P, {len(masks)}), got {tuple(scores.shape)}")
    discrete_tensor("labels", labels, shape=scores.shape[:1], of="one of each row of scores")
    count("num_classes", num_classes)
    one_of("objective", objective, OBJECTIVES)

    hardest = scores.argmin(dim=1) if objective == "probability" else scores.argmax(dim=1)
    return _blocked(masks.bool(), hardest, (labels >= 0) & (labels < num_classes))


def hardest_window_of_linear_score(
    features: Tensor, weights: Tensor, labels: Tensor, *, window: int = 2, stride: int = 2
) -> Tensor:
    """The whole search where the score of a class is linear: sums over windows in place of J scores.

    Shapes: `features` float (P, C, D, D), `weights` float (K, C, D, D), `labels` int (P,) -> bool (P, D, D).
    Specification: `steelyard.reference.hardest_window_of_linear_score`.
    """
    _feature_tensor(features)
    float_tensor("weights", weights)
    if weights.ndim != 4 or weights.shape[1:] != features.shape[1:] or len(weights) == 0:
        raise ValueError(f"weights: expected shape (K, C, D, D), C and D of features, got {tuple(weights.shape)}")
    discrete_tensor("labels", labels, shape=features.shape[:1], of="one of each of features")
    starts = dropout_window_starts(features.shape[-1], window=window, stride=stride)
    masks = dropout_window_masks(features.shape[-1], window=window, stride=stride, device=features.device)

    foreground = (labels >= 0) & (labels < len(weights))
    dtype = compute_dtype(features)
    own = weights.to(dtype)[labels.long().where(foreground, 0)]
    share = (own * features.to(dtype)).sum(dim=1)
    # not a product with the masks: autocast would round it
    rows = torch.stack([share[:, start : start + window].sum(dim=1) for start in starts], dim=1)
    lost = torch.stack([rows[:, :, start : start + window].sum(dim=2) for start in starts], dim=2)
    return _blocked(masks, lost.flatten(1).argmax(dim=1), foreground)


def _blocked(masks: Tensor, hardest: Tensor, foreground: Tensor) -> Tensor:
    return masks[hardest] & foreground[:, None, None]


def _feature_tensor(features: Tensor) -> None:
    float_tensor("features", features)
    if features.ndim != 4 or features.shape[-1] != features.shape[-2] or features.shape[-1] == 0:
        raise ValueError(f"features: expected shape (P, C, D, D) with D >= 1, got {tuple(features.shape)}")
