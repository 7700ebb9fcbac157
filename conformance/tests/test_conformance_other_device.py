"""Our samplers as they run on a GPU: with PyTorch's own operators instead of those of NumPy, on the CPU."""

import pytest
from typer.testing import CliRunner

from steelyard.conformance.command_line import app

TECHNIQUES = (
    "random_sampling",
    "stratified_hard_example_mining",
    "iou_balanced_negatives",
    "instance_balanced_positives",
    "foreground_balanced_sampling",
)
CANDIDATE = '''"""Our implementation without the operators of CPUs."""

from steelyard.impl import *
from steelyard.impl import cpu_operators

assert cpu_operators.used_for
cpu_operators.used_for = lambda tensor: False
{more}
'''


def judged(folder, technique, more=""):
    """Exit status of `steelyard check`, and what it says."""
    file = folder / "elsewhere.py"
    file.write_text(CANDIDATE.format(more=more), encoding="utf-8")
    result = CliRunner().invoke(app, ["check", str(file), "-t", technique, "--profile", "quick"])
    return result.exit_code, result.output


@pytest.mark.parametrize("technique", TECHNIQUES)
def test_the_operators_of_a_gpu_conform(technique, tmp_path):
    """Exact draws by keys, distributions, padding: all of the technique's requirements."""
    pytest.importorskip("torch", reason="needs PyTorch")

    status, said = judged(tmp_path, technique)

    assert status == 0, said


def test_it_is_the_other_operators_that_are_judged(tmp_path):
    """Broken, they are refused: the largest of the keys instead of the smallest."""
    pytest.importorskip("torch", reason="needs PyTorch")
    broken = (
        "from steelyard.impl.hard_sampling import keyed_draws\n"
        "right = keyed_draws.lowest_within\n"
        "keyed_draws.lowest_within = lambda values, group, number, limit: right(-values, group, number, limit)\n"
    )

    status, said = judged(tmp_path, "random_sampling", broken)

    assert status == 1
    assert "RS-" in said
