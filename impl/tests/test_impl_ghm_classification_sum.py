"""The fast sum of the harmonized cross entropies."""

import pytest
import torch

import steelyard.impl as room
from steelyard import reference


def inputs(dtype=torch.float64, number=60):
    generator = torch.Generator().manual_seed(0)
    logits = (3.0 * torch.randn(number, generator=generator, dtype=torch.float64)).to(dtype)
    draw = torch.rand((2, number), generator=generator)
    return logits, (draw[0] < 0.3).long(), draw[1] < 0.8


@pytest.mark.parametrize("options", [{}, {"bins": 7, "norm": "M"}])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_value_and_gradient_are_those_of_the_reference(dtype, options):
    """In both ways to count regions."""
    logits, targets, valid = inputs(dtype)
    logits.requires_grad_()

    total = room.ghm_classification_sum(logits, targets, valid, **options)
    total.backward()

    exact = logits.detach().double().numpy(), targets.numpy(), valid.numpy()
    near = 1e-13 if dtype == torch.float64 else 2e-5
    assert total.item() == pytest.approx(reference.ghm_classification_sum(*exact, **options), rel=near)
    slope = torch.from_numpy(reference.ghm_classification_sum_grad(*exact, **options))
    torch.testing.assert_close(logits.grad.double(), slope, rtol=near, atol=near)


def test_a_sum_beyond_float16():
    """140,000 examples of log 2 each, in half precision."""
    logits = torch.zeros(140_000, dtype=torch.half, requires_grad=True)
    targets, valid = torch.zeros(140_000, dtype=torch.long), torch.ones(140_000, dtype=torch.bool)

    total = room.ghm_classification_sum(logits, targets, valid)
    total.backward()

    assert total.item() == pytest.approx(140_000 * 0.6931471805599453, rel=1e-5)
    assert (logits.grad == 0.5).all()


@pytest.mark.filterwarnings("ignore:.*should not be instantiated:DeprecationWarning")  # raised inside torch
def test_runs_without_data_and_compiles_whole():
    """On the meta device, and in one graph; 0 without an example."""
    logits, targets, valid = inputs()

    assert room.ghm_classification_sum(logits.to("meta"), targets.to("meta"), valid.to("meta")).shape == ()
    assert room.ghm_classification_sum(logits, targets, torch.zeros_like(valid)) == 0
    compiled = torch.compile(room.ghm_classification_sum, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(logits, targets, valid), room.ghm_classification_sum(logits, targets, valid))


def test_bad_input_is_refused():
    """By its name."""
    with pytest.raises(ValueError, match="targets: expected shape"):
        room.ghm_classification_sum(torch.zeros(2), torch.zeros(3, dtype=torch.long), torch.ones(2, dtype=torch.bool))
