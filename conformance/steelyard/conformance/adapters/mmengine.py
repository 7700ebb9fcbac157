"""mmengine's repeat factors (`mmengine.dataset.ClassBalancedDataset`), which it rounds up."""

from types import SimpleNamespace

import mmengine
import torch
from mmengine.dataset import ClassBalancedDataset
from torch import Tensor

ARRAYS = "torch"
NAME = "mmengine"
VERSION = mmengine.__version__
DIALECTS = {"repeat_counts": "ceil"}


class _Labels:
    """A data set of which it asks the classes of an image only."""

    def __init__(self, labels: Tensor) -> None:
        self._images = [[c for c in image if c >= 0] for image in labels.tolist()]

    def __len__(self) -> int:
        return len(self._images)

    def get_cat_ids(self, index: int) -> list[int]:
        """Classes of the objects of an image."""
        return self._images[index]


def image_repeat_factors(labels: Tensor, *, num_classes: int, threshold: float) -> Tensor:
    """It takes a data set."""
    images = _Labels(labels)
    wrapper = SimpleNamespace(dataset=images)
    factors = ClassBalancedDataset._get_repeat_factors(wrapper, images, threshold)  # noqa: SLF001
    return torch.tensor(factors, dtype=torch.float64, device=labels.device)


def repeat_counts(repeat_factors: Tensor) -> Tensor:
    """It rounds where it lists the images of an epoch; there the factors are put in place of its own."""
    factors = repeat_factors.tolist()
    wrapper = ClassBalancedDataset.__new__(ClassBalancedDataset)
    wrapper.dataset = SimpleNamespace(full_init=lambda: None)
    wrapper.oversample_thr = 0.0
    wrapper._fully_initialized = False  # noqa: SLF001 - as its constructor leaves it
    wrapper._get_repeat_factors = lambda *_: factors  # noqa: SLF001
    wrapper.full_init()
    images = torch.tensor(wrapper.repeat_indices, dtype=torch.long, device=repeat_factors.device)
    return torch.bincount(images, minlength=len(factors))
