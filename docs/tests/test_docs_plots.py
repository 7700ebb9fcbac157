"""The figures show what their captions say, and the files in docs/figures are those that the code makes."""

import importlib.util
import sys
from pathlib import Path

import numpy as np
import pytest

DOCS = Path(__file__).parents[1]
spec = importlib.util.spec_from_file_location("steelyard_docs_plots", DOCS / "plots.py")
plots = importlib.util.module_from_spec(spec)
sys.path[:0] = [str(DOCS)]
spec.loader.exec_module(plots)
sys.path.remove(str(DOCS))


def test_the_focal_loss_overshoots_the_cross_entropy():
    """Largest derivative at gamma 2: 1.1289832, at a logit of -2.79 (mpmath); cross entropy stays below 1."""
    curves = plots.loss_curves()
    derivative = np.abs(curves["focal, gamma 2"][1])

    assert derivative.max() == pytest.approx(1.1289832185683982, abs=1e-5)
    assert plots.LOGITS[derivative.argmax()] == pytest.approx(-2.79, abs=0.02)
    assert np.abs(curves["cross entropy"][1]).max() < 1


def test_soft_targets_have_their_minimum_where_the_score_is_the_target():
    """Quality focal and varifocal loss at target 0.7: the derivative changes sign at log(0.7 / 0.3)."""
    curves = plots.loss_curves()

    for name in ("quality focal, target 0.7", "varifocal, target 0.7"):
        crossing = plots.LOGITS[np.flatnonzero(np.diff(np.sign(curves[name][1])))]
        assert crossing == pytest.approx([np.log(0.7 / 0.3)], abs=0.02)


def test_easy_background_rules_the_cross_entropy_and_not_ghm():
    """The harmony identity on real data: GHM's sum of each region is its mean gradient norm over a constant."""
    summed = plots.gradient_by_norm()
    share = {name: value / value.sum() for name, value in summed.items()}

    assert share["cross entropy"][0] > 0.75
    assert share["focal (alpha 0.25, gamma 2)"][0] < 0.05
    occupied = summed["GHM (30 regions)"] > 0
    middles = (np.arange(plots.BINS) + 0.5) / plots.BINS
    ratio = summed["GHM (30 regions)"][occupied] / middles[occupied]
    assert ratio.max() / np.median(ratio) < 1.2  # a mean norm lies within half a region of the middle


def test_every_example_is_counted_before_and_after():
    """504,000 examples in each histogram, nearly all of them easy; GHM gives the rarest the largest gradient."""
    before, (edges, after) = plots.examples_by_norm(), plots.examples_by_gradient()

    assert before.sum() == 3 * 2100 * 80
    assert before[0] / before.sum() > 0.95
    assert {name: counts.sum() for name, counts in after.items()} == dict.fromkeys(after, before.sum())
    largest = {name: edges[np.flatnonzero(counts)[-1]] for name, counts in after.items()}
    assert max(largest, key=largest.get) == "GHM (30 regions)"


def test_one_example_and_all_together_are_told_apart():
    """What one example of a bin has, times the number of examples, is what the bin has."""
    before, one, summed = plots.examples_by_norm(), plots.mean_gradient_by_norm(), plots.gradient_by_norm()

    for name, mean in one.items():
        assert np.nan_to_num(mean) * before / before.sum() == pytest.approx(summed[name] / summed[name].sum())


@pytest.mark.parametrize(("gamma", "beta"), [(2.0, 0.0), (0.5, 0.0), (1.0, 0.2)])
def test_rank_weights_fall_from_one(gamma, beta):
    """The best sample has weight 1, weights fall with the rank, and beta is the weight that is approached."""
    weights = plots.rank_weights(gamma, beta)

    assert weights[0] == 1.0
    assert (np.diff(weights) < 0).all()
    assert weights[-1] == pytest.approx(((1 - beta) / 20 + beta) ** gamma)


def test_the_files_are_those_of_the_code(tmp_path):
    """Every figure is written, and docs/figures holds the same set."""
    plots.main(tmp_path)

    of_the_benchmark = {"bench.svg"}  # drawn from what was measured, by docs/speed.py
    assert {f.name for f in tmp_path.iterdir()} == {f.name for f in (DOCS / "figures").iterdir()} - of_the_benchmark
    assert all(file.stat().st_size > 10_000 for file in tmp_path.iterdir())
