"""Samplers that a `torch.utils.data.DataLoader` takes as they are: balanced, sharded over ranks, resumable.

One global order of an epoch is made from seed and epoch on every rank alike, and rank r of w takes its places r, r + w,
r + 2 w, ...: together the ranks have every place exactly once. Shards may differ by one in length; where that matters
(DistributedDataParallel waits for all ranks), `drop_uneven=True` leaves out the last places.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, distributed
from torch.utils.data import Sampler

from steelyard.impl.checks import count
from steelyard.impl.foreground_balance.class_aware_sampling import class_aware_order
from steelyard.impl.foreground_balance.repeat_factor_sampling import repeat_counts, repeated_images


class EpochSampler(Sampler[int]):
    """An order of images for each epoch, sharded and resumable; subclasses say which order.

    Call `set_epoch` before each epoch, as with `DistributedSampler`. `state_dict` after some images, and
    `load_state_dict` in another process, go on in the middle of the epoch: also with another number of ranks, if
    all ranks had consumed the same number.
    """

    def __init__(
        self,
        *,
        seed: int = 0,
        rank: int | None = None,
        num_ranks: int | None = None,
        group: distributed.ProcessGroup | None = None,
        drop_uneven: bool = False,
    ) -> None:
        """Rank and number of ranks are those in the group, of the default group where none is given."""
        in_group = distributed.is_available() and distributed.is_initialized()
        self._rank = rank if rank is not None else distributed.get_rank(group) if in_group else 0
        self._num_ranks = num_ranks if num_ranks is not None else distributed.get_world_size(group) if in_group else 1
        count("num_ranks", self._num_ranks)
        if not 0 <= count("rank", self._rank, low=0) < self._num_ranks:
            raise ValueError(f"rank: expected an int below num_ranks = {self._num_ranks}, got {self._rank}")
        self._seed, self._drop_uneven = count("seed", seed, low=0), drop_uneven
        self._epoch = 0
        self._begin = 0
        """Places of the global order that were consumed before this process began."""
        self._given = 0

    @abstractmethod
    def order(self, generator: torch.Generator) -> Tensor:
        """The global order of one epoch: int64, made of this generator's numbers only."""

    def set_epoch(self, epoch: int) -> None:
        """Go to the beginning of an epoch."""
        self._epoch, self._begin, self._given = count("epoch", epoch, low=0), 0, 0

    def __iter__(self) -> Iterator[int]:
        self._given = 0
        for image in self._shard().tolist():
            self._given += 1  # before it is handed out: the image counts as consumed from then on
            yield image

    def __len__(self) -> int:
        return len(self._shard())

    def state_dict(self, consumed: int | None = None) -> dict[str, Any]:
        """Where this epoch stands; `consumed` images of this rank, where workers have asked for more than was used."""
        given = self._given if consumed is None else count("consumed", consumed, low=0)
        return {"seed": self._seed, "epoch": self._epoch, "place": self._begin + given * self._num_ranks}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Go on where another sampler stood; the data must be the same."""
        if state["seed"] != self._seed:
            raise ValueError(f"state: expected seed {self._seed}, got {state['seed']}: another order of images")
        self._epoch, self._begin, self._given = int(state["epoch"]), int(state["place"]), 0

    def _shard(self) -> Tensor:
        mixed = (self._seed * 1_000_003 + self._epoch) % 2**63  # neighbouring seeds share no epochs
        order = self.order(torch.Generator().manual_seed(mixed))[self._begin :]
        if self._drop_uneven:
            order = order[: len(order) // self._num_ranks * self._num_ranks]
        return order[self._rank :: self._num_ranks]


class RepeatFactorSampler(EpochSampler):
    """Images as often as their repeat factors say, rounded anew in every epoch, shuffled.

    Give the factors of `image_repeat_factors`, float (N,). Specification: `steelyard.reference.repeat_counts` and
    `steelyard.reference.repeated_images`.
    """

    def __init__(self, repeat_factors: Tensor, **options: Any) -> None:  # noqa: ANN401 - those of EpochSampler
        super().__init__(**options)
        if repeat_factors.ndim != 1 or not (torch.isfinite(repeat_factors) & (repeat_factors >= 1)).all():
            raise ValueError("repeat_factors: expected shape (N,), each finite and >= 1")
        self._factors = repeat_factors.detach().cpu().double()

    def order(self, generator: torch.Generator) -> Tensor:
        """Counts from fresh keys, then a shuffle by others."""
        keys = torch.rand(len(self._factors), generator=generator, dtype=torch.float64)
        counts = repeat_counts(self._factors, keys)
        return repeated_images(counts, torch.rand(int(counts.sum()), generator=generator, dtype=torch.float64))


class ClassAwareSampler(EpochSampler):
    """Classes in turn, and of each class its images in turn; both in random orders that begin anew when used up.

    Give `labels` int (N, M), -1 fills up. An epoch has as many places as the data set has images, or `epoch_length`.
    Specification: `steelyard.reference.class_aware_order`.
    """

    def __init__(
        self,
        labels: Tensor,
        *,
        num_classes: int,
        epoch_length: int | None = None,
        images_per_class: int = 1,
        **options: Any,  # noqa: ANN401 - those of EpochSampler
    ) -> None:
        super().__init__(**options)
        if labels.ndim != 2:
            raise ValueError(f"labels: expected shape (N, M), got {tuple(labels.shape)}")
        labels = labels.detach().cpu().long()
        self._length = labels.shape[0] if epoch_length is None else count("epoch_length", epoch_length)
        self._images_per_class = count("images_per_class", images_per_class)
        self._num_classes = count("num_classes", num_classes)
        highest = int(labels.max()) if labels.numel() else -1
        if highest >= num_classes:
            raise ValueError(f"labels: expected classes below num_classes = {num_classes}, got {highest}")
        if highest < 0:
            raise ValueError("labels: expected an object in at least one image, got none")
        self._labels = _without_repeats(labels)
        self._classes_present = len(labels[labels >= 0].unique())  # type: ignore[no-untyped-call]

    def order(self, generator: torch.Generator) -> Tensor:
        """Of fresh keys."""
        passes = -(-self._length // (self._classes_present * self._images_per_class))
        number = self._num_classes * passes * self._images_per_class + self._labels.numel()
        return class_aware_order(
            self._labels,
            torch.rand((passes, self._num_classes), generator=generator, dtype=torch.float64),
            torch.rand(number, generator=generator, dtype=torch.float64),
            num_classes=self._num_classes,
            images_per_class=self._images_per_class,
            epoch_length=self._length,
        )


def _without_repeats(labels: Tensor) -> Tensor:
    """Each class of an image once, in as few columns as the image with most classes needs."""
    ordered = labels.sort(dim=1, descending=True).values
    ordered[:, 1:] = ordered[:, 1:].masked_fill(ordered[:, 1:] == ordered[:, :-1], -1)
    ordered = ordered.sort(dim=1, descending=True).values
    return ordered[:, : int((ordered >= 0).sum(dim=1).max())]
