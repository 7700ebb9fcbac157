"""The figures of the documentation, computed from the reference: `python docs/plots.py` writes them to docs/figures.

Every curve is a function here that returns numbers, so that a test can look at them; drawing comes after.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import cache
from pathlib import Path

import cells
import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from steelyard.reference.logistic import sigmoid, softplus
from steelyard.reference.soft_sampling import (
    focal_loss,
    focal_loss_star,
    ghm,
    gradient_density,
    quality_focal_loss,
    varifocal_loss,
)

Float = NDArray[np.float64]

HERE = Path(__file__).parent
DATA = HERE.parent / "conformance" / "steelyard" / "conformance" / "data" / "nanodet320_dense.npz"
LOGITS = np.linspace(-6.0, 6.0, 601)
BINS = 30
mpl.use("Agg")  # no window is opened
mpl.rcParams.update({"font.size": 10, "axes.grid": True, "grid.alpha": 0.3, "svg.hashsalt": "steelyard"})


# --- numbers --------------------------------------------------------------------------------------------------


def loss_curves() -> dict[str, tuple[Float, Float]]:
    """Loss and its derivative against the logit of a positive, for each way of weighing it."""
    x, one = LOGITS, np.ones(LOGITS.shape, dtype=np.int64)
    quality = np.full(LOGITS.shape, 0.7)
    curves = {
        "cross entropy": (softplus(-x), sigmoid(x) - 1.0),
        "FL* (gamma 2, beta 1)": (
            focal_loss_star.focal_loss_star(x, one),
            focal_loss_star.focal_loss_star_grad(x, one),
        ),
    }
    for gamma in (1.0, 2.0, 5.0):
        curves[f"focal, gamma {gamma:g}"] = (
            focal_loss.sigmoid_focal_loss(x, one, alpha=None, gamma=gamma),
            focal_loss.sigmoid_focal_loss_grad(x, one, alpha=None, gamma=gamma),
        )
    curves["quality focal, target 0.7"] = (
        quality_focal_loss.quality_focal_loss(x, quality),
        quality_focal_loss.quality_focal_loss_grad(x, quality),
    )
    curves["varifocal, target 0.7"] = (
        varifocal_loss.varifocal_loss(x, quality),
        varifocal_loss.varifocal_loss_grad(x, quality),
    )
    return curves


@cache
def _real_outputs() -> tuple[Float, dict[str, Float]]:
    """Gradient norm |p - y| of every example on the real outputs, and the size of its gradient under each loss."""
    with np.load(DATA) as data:
        logits = data["cls_logits"].astype(np.float64)
        labels = np.full(logits.shape[:2], logits.shape[-1])
        for image in range(len(logits)):
            assigned = data["assigned_gt"][image]
            classes = data["gt_class"][data["gt_offset"][image] : data["gt_offset"][image + 1]]
            labels[image, assigned >= 0] = classes[assigned[assigned >= 0]]
    targets = (labels[..., None] == np.arange(logits.shape[-1])).astype(np.int64)
    norm = np.abs(sigmoid(logits) - targets)
    gradients = {
        "cross entropy": norm,
        "focal (alpha 0.25, gamma 2)": np.abs(focal_loss.sigmoid_focal_loss_grad(logits, targets)),
        "GHM (30 regions)": np.abs(ghm.ghm_classification_loss_grad(logits, targets, bins=BINS)),
    }
    return norm.ravel(), {name: np.asarray(g).ravel() for name, g in gradients.items()}


def _by_norm(values: Float | None) -> Float:
    """Sum of a value over the examples of each of 30 equal bins of |p - y|; None: their number."""
    region = gradient_density.unit_region_index(_real_outputs()[0], bins=BINS)
    return np.bincount(region, weights=values, minlength=BINS).astype(np.float64)


def examples_by_norm() -> Float:
    """Number of examples in each of 30 equal bins of |p - y|, on the real outputs: the histogram before."""
    return _by_norm(None)


def gradient_by_norm() -> dict[str, Float]:
    """Summed size of the gradient in each of these bins, by loss.

    Cross entropy is ruled by the easy background at the left end, the focal loss cuts it, GHM leaves each occupied
    region its mean gradient norm, however many examples it holds.
    """
    return {name: _by_norm(size) for name, size in _real_outputs()[1].items()}


def mean_gradient_by_norm() -> dict[str, Float]:
    """Mean size of the gradient of an example of each bin, in units of the mean over all examples; NaN if empty."""
    with np.errstate(invalid="ignore"):
        mean = {name: summed / examples_by_norm() for name, summed in gradient_by_norm().items()}
    return {name: mean[name] / size.mean() for name, size in _real_outputs()[1].items()}


def examples_by_gradient() -> tuple[Float, dict[str, Float]]:
    """Histogram after: number of examples by the size of their gradient under each loss, in units of its mean.

    First the edges, as powers of 10; what lies beyond them is counted at the ends.
    """
    edges = np.linspace(-5.0, 5.0, 4 * 10 + 1)
    counts = {}
    for name, size in _real_outputs()[1].items():
        power = np.log10(np.maximum(size / size.mean(), 10.0 ** edges[0]))
        counts[name] = np.histogram(np.minimum(power, edges[-1]), edges)[0].astype(np.float64)
    return edges, counts


def rank_weights(gamma: float, beta: float, number: int = 20) -> Float:
    """PISA's weight of the sample of each rank, before the common factor: ((1 - beta) u + beta)^gamma."""
    share = (number - np.arange(number)) / number
    weights: Float = ((1.0 - beta) * share + beta) ** gamma
    return weights


# --- figures --------------------------------------------------------------------------------------------------


def loss_and_gradient() -> Figure:
    """Loss and derivative of a positive against its logit."""
    figure = Figure(figsize=(9.0, 3.8), layout="constrained")
    left, right = figure.subplots(1, 2)
    for name, (loss, derivative) in loss_curves().items():
        left.plot(LOGITS, loss, label=name)
        right.plot(LOGITS, derivative)
    left.set(xlabel="logit of the true class", ylabel="loss (nats)", ylim=(0.0, 6.0))
    right.set(xlabel="logit of the true class", ylabel="derivative by the logit")
    left.legend(fontsize=8)
    return figure


def gradient_histogram() -> Figure:
    """Histograms of gradient norms before and after cross entropy, focal loss and GHM, on real detector outputs."""
    figure = Figure(figsize=(9.0, 6.6), layout="constrained")
    (before, after), (one, all_together) = figure.subplots(2, 2)
    centres = (np.arange(BINS) + 0.5) / BINS
    before.bar(centres, examples_by_norm(), width=1.0 / BINS, color="0.5")
    before.set(title="before: examples by gradient norm", ylabel="examples (log)", yscale="log")
    edges, counts = examples_by_gradient()
    for name, number in counts.items():
        after.stairs(number, 10.0**edges, label=name)
    after.set(title="after: examples by their gradient", ylabel="examples (log)", yscale="log", xscale="log",
              ylim=(0.7, None), xlabel="size of the gradient / mean of the loss (log)")  # fmt: skip
    for name, mean in mean_gradient_by_norm().items():
        one.plot(centres, mean, marker="o", markersize=2.5, label=name)
    one.set(title="gradient of one example", ylabel="mean size / mean of the loss (log)", yscale="log")
    for name, summed in gradient_by_norm().items():
        occupied = np.where(summed > 0.0, summed, np.nan)  # an empty bin has no place on a logarithmic axis
        all_together.plot(centres, occupied / summed.sum(), marker="o", markersize=2.5, label=name)
    all_together.set(title="gradient of all together", ylabel="share of the sum (log)", yscale="log", ylim=(1e-4, 1.0))
    for axes in (before, one, all_together):
        axes.set(xlabel="gradient norm |p - y|", xlim=(0.0, 1.0))
    all_together.legend(fontsize=8)
    return figure


def rank_to_weight() -> Figure:
    """PISA's weight by rank: gamma varied, then beta; thick, the settings of the paper's positives and negatives."""
    figure = Figure(figsize=(9.0, 3.6), layout="constrained")
    left, right = figure.subplots(1, 2, sharey=True)
    for gamma in (0.5, 1.0, 2.0, 3.0):
        used = {2.0: " (positives)", 0.5: " (negatives)"}.get(gamma, "")
        _draw_weights(left, rank_weights(gamma, 0.0), f"gamma {gamma:g}{used}", thick=bool(used))
    for beta in (0.0, 0.1, 0.2, 0.4):
        _draw_weights(right, rank_weights(1.0, beta), f"beta {beta:g}")
    left.set(title="beta 0", ylabel="weight before the common factor")
    right.set(title="gamma 1")
    return figure


def _draw_weights(axes: Axes, weights: Float, label: str, *, thick: bool = False) -> None:
    axes.plot(np.arange(len(weights)), weights, marker="o", markersize=3, linewidth=2.5 if thick else 1.0, label=label)
    axes.set(xlabel="hierarchical local rank of 20 samples", xticks=range(0, len(weights), 5))
    axes.legend(fontsize=8)


def class_imbalance() -> Figure:
    """Background for one foreground example, shares of the classes, and who owns the gradient, on real data."""
    return _drawn_by_guide("class-imbalance")


def generated_proposals() -> Figure:
    """Positives by IoU and by class, of a detector and of the box generator."""
    return _drawn_by_guide("generative")


def walkthrough_gradients() -> Figure:
    """Who owns the gradient in each step of training a small head, under four losses."""
    figure: Figure = cells.run("walkthrough")[1]["figures"]["walkthrough-gradients"]
    return figure


def walkthrough_scores() -> Figure:
    """Scores of foreground and background after training a small head, under four losses."""
    figure: Figure = cells.run("walkthrough")[1]["figures"]["walkthrough-scores"]
    return figure


def _drawn_by_guide(name: str) -> Figure:
    """The figure that the first block of a guide makes: the page and the picture cannot differ."""
    figure: Figure = cells.run(name, first=1)[1]["figure"]
    return figure


FIGURES: dict[str, Callable[[], Figure]] = {
    "loss-and-gradient": loss_and_gradient,
    "gradient-histogram": gradient_histogram,
    "rank-to-weight": rank_to_weight,
    "class-imbalance": class_imbalance,
    "generated-proposals": generated_proposals,
    "walkthrough-gradients": walkthrough_gradients,
    "walkthrough-scores": walkthrough_scores,
}


def main(directory: Path) -> None:
    """Write every figure as SVG, without a date, so that equal numbers give equal files."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, make in FIGURES.items():
        make().savefig(directory / f"{name}.svg", metadata={"Date": None})


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else HERE / "figures")
