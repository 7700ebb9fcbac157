"""What all tests need: one thread. And what some do: both ways of drawing."""

import pytest
import torch

from steelyard.impl import cpu_operators

# several test processes on few cores would spend their time waiting for each other's threads
torch.set_num_threads(1)


@pytest.fixture(params=["operators of CPUs", "tensor operators"])
def either_way(request, monkeypatch):
    """What runs on a CPU, and what runs on a GPU, which PyTorch's own operators do on a CPU as well."""
    if request.param == "tensor operators":
        monkeypatch.setattr(cpu_operators, "used_for", lambda _: False)


@pytest.fixture
def as_on_a_device(monkeypatch):
    """What runs on a GPU."""
    monkeypatch.setattr(cpu_operators, "used_for", lambda _: False)
