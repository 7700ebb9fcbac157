"""Losses of one class id an anchor, without a dense target.

Eager, all channels are swept as background, and one channel an anchor is mended: the formula of the foreground is
computed for one element in C. Compiled, a comparison of labels with channel numbers is fused with all the rest.
"""

from collections.abc import Callable

import torch
from torch import Tensor


def by_channel(
    x: Tensor,
    labels: Tensor,
    *of_anchor: Tensor,
    background: Callable[[Tensor], Tensor],
    element: Callable[..., Tensor],
    ignored: float = 0.0,
) -> Tensor:
    """`element(x, is_own, *of_anchor)` in every channel; `ignored` for ignored anchors, whatever stands there.

    Shapes: `x` (..., C), `labels` int (...) with C = background, -1 = ignore, `of_anchor` (...) -> (..., C).
    `is_own` is 1.0 in the channel of the anchor's class and else 0.0, where numbers of the anchor are 0 too and
    `element` has to be `background(x)`.
    """
    label = labels.unsqueeze(-1)
    is_ignored = label == -1
    if torch.compiler.is_compiling():
        channel = torch.arange(x.shape[-1], dtype=torch.int32, device=x.device)
        is_own = label.to(torch.int32) == channel
        given = (torch.where(is_own, number.unsqueeze(-1).to(x.dtype), 0.0) for number in of_anchor)
        # masked before all else too: every operator then runs over anchors and channels, and one loop holds them
        return element(x.masked_fill(is_ignored, 0.0), is_own.to(x.dtype), *given).masked_fill(is_ignored, ignored)
    is_foreground = (label >= 0) & (label < x.shape[-1])
    channel = label.to(torch.int64).clamp(0, x.shape[-1] - 1)
    # masked before the formula: what stands at background anchors may be NaN
    given = (torch.where(is_foreground, number.unsqueeze(-1).to(x.dtype), 0.0) for number in of_anchor)
    own = element(x.gather(-1, channel), is_foreground.to(x.dtype), *given)
    # masked_fill, not a product: an ignored NaN or infinite logit must not spoil the sum
    return background(x).scatter(-1, channel, own).masked_fill_(is_ignored, ignored)
