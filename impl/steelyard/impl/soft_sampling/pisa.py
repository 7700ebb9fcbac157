"""IoU-HLR by stable sorts, ISR-P by one scatter: no loop over classes, images or objects.

Specification: `steelyard.reference.soft_sampling.pisa`.
"""

from math import prod
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from steelyard.impl.checks import compute_dtype, count, discrete_tensor, float_tensor, fraction, non_negative, one_of
from steelyard.impl.collectives import Shards

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup

DENOMINATORS = ("class", "max")


def iou_hierarchical_local_rank(
    iou: Tensor,
    labels: Tensor,
    gt_index: Tensor,
    image_index: Tensor | None = None,
    *,
    num_classes: int,
    group: "ProcessGroup | None" = None,
    capacity: int | None = None,
) -> Tensor:
    """Rank of every positive within its class, over all processes of the group; they hold different images.

    Shapes: `iou` float (..., N), `labels`, `gt_index`, `image_index` int (..., N), label -1 is padding -> int64
    (..., N). `capacity`: at least the samples of each process, the same number on all; None asks them and waits.
    Specification: `steelyard.reference.iou_hierarchical_local_rank`.
    """
    classes = _classes(iou, labels, count("num_classes", num_classes))
    with torch.no_grad():
        shards = Shards(iou, group, capacity)
        rank, *_ = _iou_rank(shards, iou, classes, gt_index, image_index, num_classes)
        return shards.own(rank)


def isr_p_weights(  # noqa: PLR0913 - the quantities of a sample, and the options of the paper by keyword
    iou: Tensor,
    classification_losses: Tensor,
    labels: Tensor,
    gt_index: Tensor,
    image_index: Tensor | None = None,
    label_weights: Tensor | None = None,
    *,
    num_classes: int,
    gamma: float = 2.0,
    beta: float = 0.0,
    denominator: str = "class",
    group: "ProcessGroup | None" = None,
    capacity: int | None = None,
) -> Tensor:
    """Weights in the classification loss; ranks and ratio over all processes of the group; they hold different images.

    Shapes: `iou`, `label_weights` float (..., N), `classification_losses` float (..., N) or (..., N, K), `labels`,
    `gt_index`, `image_index` int (..., N), label -1 is padding -> (..., N); float32 for half losses. `capacity`: as in
    `iou_hierarchical_local_rank`.
    Specification: `steelyard.reference.isr_p_weights`.
    """
    classes = _classes(iou, labels, count("num_classes", num_classes))
    gamma, beta = non_negative("gamma", gamma), fraction("beta", beta)
    one_of("denominator", denominator, DENOMINATORS)
    with torch.no_grad():
        losses = sample_losses(classification_losses, iou)
        a = torch.ones_like(losses)
        if label_weights is not None:
            a = float_tensor("label_weights", label_weights, shape=iou.shape, of="that of iou").to(losses.dtype)
        classes = torch.where(a > 0, classes, num_classes)
        counted = classes < num_classes

        shards = Shards(iou, group, capacity)
        weighed = torch.where(counted, a * losses, 0.0)
        rank, all_classes, all_losses = _iou_rank(shards, iou, classes, gt_index, image_index, num_classes, weighed)
        n_j = torch.zeros(num_classes + 1, dtype=torch.int64, device=iou.device)
        n_j = n_j.scatter_add(0, all_classes, torch.ones_like(all_classes))
        divisor = n_j[all_classes] if denominator == "class" else n_j[:num_classes].amax().clamp(min=1)
        g = importance(rank.clamp(min=0), divisor, gamma, beta, losses.dtype)

        ratio = conserving_ratio(g, all_losses)
        return torch.where(counted, a * shards.own(g) * ratio, a.masked_fill(labels == -1, 0.0))


def hierarchical_local_rank(values: Tensor, objects: tuple[Tensor, ...], classes: Tensor) -> Tensor:
    """Position in the class when ordered by the rank in the object, then by the value: higher first, NaN last.

    Shapes: `values` float (..., N); `objects`, keys that together name an object, int (..., N); `classes` int
    (..., N) -> int64 (..., N).
    """
    # negated, not `descending`: NaN has to be last. And -0.0 is 0.0, which a radix sort would not know
    by_value = torch.where(values == 0, 0.0, -values).argsort(dim=-1, stable=True)
    local_rank = position_in_segment(_refined(by_value, *reversed(objects)), *objects)
    order = _refined(by_value, classes * values.shape[-1] + local_rank)
    return position_in_segment(order, classes)


def position_in_segment(order: Tensor, *keys: Tensor) -> Tensor:
    """Of each element, how many before it in `order` have the same keys, which are neighbours in it.

    Shapes: `order` int64 (..., N), a permutation; `keys` int (..., N) -> int64 (..., N), in the order of the keys.
    """
    position = torch.arange(order.shape[-1], device=order.device).expand(order.shape)
    begins = torch.zeros_like(order, dtype=torch.bool)
    for key in keys:
        ordered = key.gather(-1, order)
        begins = begins | (ordered != ordered.roll(1, -1))  # the first is compared with the last: its start is 0 anyway
    start = torch.where(begins, position, 0).cummax(-1).values
    return torch.zeros_like(order).scatter(-1, order, position - start)


def importance(rank: Tensor, divisor: Tensor, gamma: float, beta: float, dtype: torch.dtype) -> Tensor:
    """((1 - beta) u + beta)^gamma with u = (divisor - rank) / divisor; integers that broadcast."""
    u = (divisor - rank).to(dtype) / divisor.to(dtype)  # a quotient of integers would be float32
    return ((1.0 - beta) * u + beta) ** gamma


def conserving_ratio(importance: Tensor, losses: Tensor) -> Tensor:
    """Sum of the losses by their sum weighed with the importance, 1 where that is 0.

    Shapes: both (..., N), loss 0 where not counted -> (..., 1).
    """
    largest = nn.functional.pad(losses, (0, 1)).amax(-1, keepdim=True)
    shares = losses / torch.where(largest == 0, 1.0, largest)  # sums cannot overflow
    weighed = (importance * shares).sum(-1, keepdim=True)
    return torch.where(weighed == 0, 1.0, shares.sum(-1, keepdim=True) / weighed)


def sample_losses(losses: Tensor, like: Tensor) -> Tensor:
    """One loss a sample, in the dtype of the arithmetic: channels are summed."""
    shape = losses.shape[: like.ndim] if losses.ndim == like.ndim + 1 else losses.shape
    if shape != like.shape:
        expected = tuple(like.shape)
        raise ValueError(
            f"classification_losses: expected shape {expected} or {(*expected, 'K')}, got {tuple(losses.shape)}"
        )
    widened = float_tensor("classification_losses", losses).to(compute_dtype(losses))
    return widened if losses.ndim == like.ndim else widened.sum(-1)


def _classes(iou: Tensor, labels: Tensor, num_classes: int) -> Tensor:
    """Class of every positive, C for all others."""
    if float_tensor("iou", iou).ndim == 0:
        raise ValueError("iou: expected shape (..., N), got ()")
    label = discrete_tensor("labels", labels, shape=iou.shape, of="that of iou").to(torch.int64)
    return torch.where((label >= 0) & (label < num_classes), label, num_classes)


def _iou_rank(
    shards: Shards,
    iou: Tensor,
    classes: Tensor,
    gt_index: Tensor,
    image_index: Tensor | None,
    num_classes: int,
    losses: Tensor | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Ranks, -1 for others than positives, classes and losses of the samples of all processes, flat."""
    gt = discrete_tensor("gt_index", gt_index, shape=iou.shape, of="that of iou").to(torch.int64)
    if image_index is None:
        rows = prod(iou.shape[:-1])
        image = torch.arange(rows, device=iou.device).view(*iou.shape[:-1], 1).expand(iou.shape)
    else:
        image = discrete_tensor("image_index", image_index, shape=iou.shape, of="that of iou").to(torch.int64)
    columns = shards.gather(iou, classes, image, gt, torch.zeros_like(iou) if losses is None else losses)
    all_iou, all_classes, all_images, all_gt, all_losses = columns
    is_sample = all_classes >= 0  # and no padding
    all_classes = torch.where(is_sample, all_classes, num_classes)

    process = all_classes * shards.processes + shards.process(all_classes)
    if image_index is None:  # rows are small numbers, so that one key names class, process and row
        objects: tuple[Tensor, ...] = (process * (shards.capacity + 1) + all_images, all_gt)
    else:
        objects = (process, all_images, all_gt)
    rank = hierarchical_local_rank(all_iou, objects, all_classes)
    return torch.where(all_classes < num_classes, rank, -1), all_classes, torch.where(is_sample, all_losses, 0.0)


def _refined(order: Tensor, *keys: Tensor) -> Tensor:
    """The permutation sorted stably by one key after the other: the last one decides first."""
    for key in keys:
        order = order.gather(-1, key.gather(-1, order).argsort(dim=-1, stable=True))
    return order
