"""What techniques need of the other processes that hold parts of the mini-batch; without a group, nothing.

With a `group`, a function returns on every process what one process with the whole mini-batch would return for the
part of this one: ranks, weights and element losses as they are, of a loss the process's share. The shares add up to
the loss, and a backward pass on every process gives each the gradient of the whole loss by its own inputs. A process
without samples takes part like any other.

Every process of the group has to come to every call. One that dies or stays away is an error on the others as soon
as the backend sees it, at the latest after the timeout of the group.
"""

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from steelyard.impl.checks import count

if TYPE_CHECKING:  # builds of torch without distributed exist
    from torch.distributed import ProcessGroup


def summed(part: Tensor, group: "ProcessGroup | None") -> Tensor:
    """Sum over the processes of the group, a constant. Of integers the same for every way of sharding."""
    return part if group is None else _reduced(part, "SUM", group)


def highest(part: Tensor, group: "ProcessGroup | None") -> Tensor:
    """Maximum over the processes of the group, a constant."""
    return part if group is None else _reduced(part, "MAX", group)


def summed_with_gradient(part: Tensor, group: "ProcessGroup | None") -> Tensor:
    """Sum over the processes of the group, through which gradients pass: backward is a call that all have to come to.

    What the sum is used for on one process depends on the parts of all, so their gradients are summed as well.
    """
    if group is None:
        return part
    total: Tensor = _SumWithGradient.apply(part, group)  # type: ignore[no-untyped-call]
    return total


class Shards:
    """The samples of all processes one after another, each process's filled up to `capacity` places.

    Without a capacity the processes tell each other how many samples they have, for which the host waits.
    """

    def __init__(self, samples: Tensor, group: "ProcessGroup | None", capacity: int | None) -> None:
        """`samples`: any tensor with one element a sample."""
        self._group, self._shape, self._number = group, samples.shape, samples.numel()
        self.processes, self.capacity = 1, self._number
        if group is None:
            return
        self._own = _rank(group)
        self.processes = group.size()
        if capacity is None:
            self.capacity = int(highest(torch.tensor(self._number, device=samples.device), group))
        elif self._number <= count("capacity", capacity):
            self.capacity = capacity
        else:
            raise ValueError(f"capacity: expected at least {self._number}, the number of samples here, got {capacity}")

    def gather(self, *columns: Tensor) -> tuple[Tensor, ...]:
        """Each column of all processes, (processes * capacity,), in one exchange; integers that fill up are -1.

        Shapes: columns of the shape of the samples, floating or int64.
        """
        if self._group is None:
            return tuple(column.flatten() for column in columns)
        # 64 bits hold every number of every dtype, and its order
        rows = torch.stack([_as_integers(column).flatten() for column in columns])
        rows = nn.functional.pad(rows, (0, self.capacity - self._number), value=-1)
        parts = rows.new_empty((self.processes, *rows.shape))
        torch.distributed.all_gather(list(parts.unbind()), rows, group=self._group)
        together = parts.transpose(0, 1).flatten(1)
        return tuple(
            row.view(torch.float64).to(column.dtype) if column.is_floating_point() else row
            for row, column in zip(together, columns, strict=True)
        )

    def process(self, gathered: Tensor) -> Tensor:
        """Number of the process of each place."""
        return torch.arange(gathered.shape[0], device=gathered.device) // max(self.capacity, 1)

    def own(self, gathered: Tensor) -> Tensor:
        """The part of this process of a gathered column, in the shape of its samples."""
        first = 0 if self._group is None else self._own * self.capacity
        return gathered[first : first + self._number].view(self._shape)


class _SumWithGradient(torch.autograd.Function):
    @staticmethod
    def forward(part: Tensor, group: "ProcessGroup") -> Tensor:
        return _reduced(part, "SUM", group)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: Tensor) -> None:  # noqa: ANN401, ARG004
        ctx.group = inputs[1]

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None]:  # noqa: ANN401
        return summed_with_gradient(grad, ctx.group), None


def _reduced(part: Tensor, operation: str, group: "ProcessGroup") -> Tensor:
    _rank(group)
    total = part.detach().clone(memory_format=torch.contiguous_format)
    torch.distributed.all_reduce(total, getattr(torch.distributed.ReduceOp, operation), group=group)
    return total


def _rank(group: "ProcessGroup") -> int:
    """Rank of this process. Outside of the group, torch would leave the tensors as they are and only warn."""
    rank: int = torch.distributed.get_rank(group)
    if rank < 0:
        raise ValueError("group: expected a group that this process is a member of")
    return rank


def _as_integers(column: Tensor) -> Tensor:
    return column.to(torch.float64).view(torch.int64) if column.is_floating_point() else column.to(torch.int64)
