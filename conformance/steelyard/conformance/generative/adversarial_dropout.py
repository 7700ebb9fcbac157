"""Contracts of adversarial spatial dropout: the mask that is drawn, what is rewarded, the adversary's loss.

Wang, Shrivastava, Gupta, "A-Fast-RCNN: Hard Positive Generation via Adversary for Object Detection", CVPR 2017 (arXiv
1704.03414), section 4.1.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable

import numpy as np

from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    batch_equals_per_image,
    gradient,
    purity,
    refuses,
    same_as,
    value,
)
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.generative.adversarial_dropout_mutants import (
    LOSS_MUTANTS,
    MASK_MUTANTS,
    REWARD_MUTANTS,
    foreground,
)
from steelyard.conformance.hard_sampling.draw_laws import one_image, repeated
from steelyard.conformance.statistics import Suspicion, inclusion, pairs
from steelyard.reference.generative import adversarial_dropout as oracle

PAPER = "Wang, Shrivastava, Gupta, A-Fast-RCNN, CVPR 2017, arXiv 1704.03414, section 4.1"
_CODE = "xiaolonw/adversarial-frcnn, lib/roi_data_layer/layer.py"
_FULL = ("float32", "float64")
_CLASSES = 3
_REPETITIONS = 2000

# --- inputs ---------------------------------------------------------------------------------------------------


def _labels(draw: Draw, rois: int) -> Array:
    return draw.array((rois,), lambda: float(draw.choice((0, 1, _CLASSES, 2, -1, 0)))).astype(np.int64)


def _ranked(draw: Draw, rois: int, cells: int) -> Array:
    """Distinct multiples of 1/64 in each RoI: exact in every format."""
    drawn = draw.array((rois, cells * cells), draw.fraction)
    return np.argsort(np.argsort(drawn, axis=1, kind="stable"), axis=1).reshape(rois, cells, cells) / 64.0


def _numbers(draw: Draw, *choices: tuple[int, int]) -> dict[str, OptionValue]:
    candidates, dropped = draw.choice(choices)
    return {"num_classes": _CLASSES, "num_candidates": candidates, "num_dropped": dropped}


def grids(draw: Draw) -> Case:
    """Up to three RoIs of 2 x 2 to 4 x 4 cells, each with another probability and key for every cell."""
    rois, cells = draw.integer(1, 3), draw.integer(2, 4)
    arguments = {
        "probabilities": _ranked(draw, rois, cells), "labels": _labels(draw, rois), "keys": _ranked(draw, rois, cells),
    }  # fmt: skip
    return Case(arguments, _numbers(draw, (3, 2), (4, 1), (2, 2), (6, 3), (5, 0)), draw.dtype())


def equal_cells(draw: Draw) -> Case:
    """Probabilities, or keys, of two values."""
    case = grids(draw)
    name = draw.choice(("probabilities", "keys"))
    return case.with_arguments(**{name: np.floor(case.arguments[name] * 8.0) / 2.0 % 1.0})


def few_cells(draw: Draw) -> Case:
    """Fewer cells than candidates, or than are dropped; no RoI."""
    rois, cells = draw.choice(((2, 2), (1, 1), (0, 2)))
    arguments = {
        "probabilities": _ranked(draw, rois, cells), "labels": _labels(draw, rois), "keys": _ranked(draw, rois, cells),
    }  # fmt: skip
    return Case(arguments, _numbers(draw, (20, 15), (6, 3), (8, 8)), draw.dtype())


def one_positive(draw: Draw) -> Case:
    """One positive of 3 x 3 cells with something left to choose, for the tests of distribution."""
    arguments = {
        "probabilities": _ranked(draw, 1, 3), "labels": np.array([draw.integer(0, 2)]), "keys": np.zeros((1, 3, 3)),
    }  # fmt: skip
    return Case(arguments, _numbers(draw, (6, 3), (5, 2), (7, 4)), draw.dtype(_FULL))


def rois_of_vgg(seed: int) -> Case:
    """64 RoIs, a quarter of them foreground, of the 7 x 7 cells of VGG16; 15 of 20 cells, as in the code."""
    random = np.random.default_rng(seed)
    ranks = random.permuted(np.broadcast_to(np.arange(49), (2, 64, 49)), axis=2).reshape(2, 64, 7, 7) / 64.0
    labels = np.where(np.arange(64) < 16, random.integers(0, _CLASSES, 64), _CLASSES)
    options: dict[str, OptionValue] = {"num_classes": _CLASSES, "num_candidates": 20, "num_dropped": 15}
    return Case({"probabilities": ranks[0], "labels": labels, "keys": ranks[1]}, options, "float32",
                origin=f"scene {seed}")  # fmt: skip


def rois_of_few_values(seed: int) -> Case:
    """The same cells with probabilities and keys of eight values: a sort of so many that is not stable shows."""
    case = rois_of_vgg(seed)
    return case.with_arguments(**{name: np.floor(8.0 * case.arguments[name]) / 8.0 for name in
                                  ("probabilities", "keys")})  # fmt: skip


def probabilities_before_and_after(draw: Draw) -> Case:
    """Up to six RoIs; probabilities in eighths, so that drops fall on the margin, too."""
    rois = draw.integer(1, 6)
    before, after = (draw.integers((rois,), 0, 8) / 8.0 for _ in range(2))
    options: dict[str, OptionValue] = {"num_classes": _CLASSES, "margin": draw.choice((0.125, 0.25, 0.1, 0.0))}
    return Case({"before": before, "after": after, "labels": _labels(draw, rois)}, options, draw.dtype())


def _no_roi(draw: Draw) -> Case:
    case = probabilities_before_and_after(draw)
    return case.with_arguments(**{name: values[:0] for name, values in case.arguments.items()})


def _adversary(draw: Draw, logits_of: Callable[[tuple[int, ...], str], Array], *, rois: int | None = None) -> Case:
    cells, dtype = draw.integer(1, 3), draw.dtype()
    shape = (draw.integer(1, 3) if rois is None else rois, cells, cells)
    arguments = {
        "logits": logits_of(shape, dtype),
        "targets": draw.integers(shape, 0, 1).astype(bool),
        "rewarded": draw.array(shape[:1], lambda: float(draw.flag(70))).astype(bool),
    }
    return Case(arguments, {}, dtype)


def logits(draw: Draw) -> Case:
    """Up to three RoIs of up to 3 x 3 cells, most of them rewarded."""
    return _adversary(draw, draw.logits)


def extreme_logits(draw: Draw) -> Case:
    """Logits from 15 to 10^4, and subnormal ones."""
    return _adversary(draw, lambda shape, dtype: draw.extreme_logits(shape, dtype, to_the_end=False))


def nothing_to_learn(draw: Draw) -> Case:
    """No RoI, or none that is rewarded."""
    case = _adversary(draw, draw.logits, rois=draw.choice((0, 2)))
    return case.with_arguments(rewarded=np.zeros_like(case.arguments["rewarded"]))


def mini_batch(seed: int) -> Case:
    """64 RoIs of 7 x 7 cells, a quarter of them rewarded."""
    random = np.random.default_rng(seed)
    shape = (64, 7, 7)
    arguments = {
        "logits": random.integers(-48, 49, shape) / 8.0, "targets": random.random(shape) < 15 / 49,
        "rewarded": np.arange(64) < 16,
    }  # fmt: skip
    return Case(arguments, {}, "float32", origin=f"scene {seed}")


# --- laws -----------------------------------------------------------------------------------------------------


def numbers_of_cells(bench: Bench, case: Case) -> None:
    """So many cells of each positive, all of them candidates; none of what is no positive."""
    found = np.asarray(bench.evaluate(case).outputs[0]).astype(bool)
    size = int(np.prod(found.shape[1:]))
    candidates, dropped = (int(str(case.options[name])) for name in ("num_candidates", "num_dropped"))
    positive = foreground(case.arguments["labels"], _CLASSES)
    wanted = np.where(positive, min(candidates, dropped, size), 0).tolist()
    numbers = found.reshape(len(found), -1).sum(axis=1).tolist()
    bench.expect(numbers == wanted, f"blocked {numbers} cells of the RoIs, expected {wanted}", case)
    for i in np.flatnonzero(positive):
        p = case.arguments["probabilities"][i]
        worst = np.sort(p, axis=None)[::-1][min(candidates, size) - 1] if candidates else np.inf
        bench.expect(not (found[i] & (p < worst)).any(), f"RoI {i}: blocked a cell that is no candidate", case)


def _frequencies(judge: Callable[[Array, Array, Array], Suspicion]) -> Callable[[Bench, Case], None]:
    def check(bench: Bench, case: Case) -> None:
        options = {name: value for name, value in case.options.items() if name != "num_classes"}
        probability = case.arguments["probabilities"][0]
        single, together = oracle.adversarial_dropout_probabilities(probability, **options)  # type: ignore[arg-type]

        def test(seed: int) -> Suspicion:
            many = repeated(bench, one_image(case, 0), _REPETITIONS, seed)
            found = np.asarray(bench.evaluate(many).outputs[0]).astype(bool)
            return judge(found.reshape(_REPETITIONS, -1), single, together)

        bench.expect_distribution(case, test, zlib.crc32(probability.tobytes()))

    return check


def _reversed_rois(case: Case) -> Case:
    return case.with_arguments(**{name: values[::-1].copy() for name, values in case.arguments.items()})


def _turned(case: Case) -> Case:
    """Signs of logits and targets turned over."""
    return case.with_arguments(logits=-case.arguments["logits"], targets=~case.arguments["targets"])


def _magnitude(case: Case) -> tuple[int, Array]:
    total = oracle.dropout_mask_loss(**case.arguments)
    return case.arguments["logits"].size + 1, np.abs(total)


def _on_the_margin(case: Case) -> bool:
    drop = case.arguments["before"] - case.arguments["after"]
    return bool((drop == case.options["margin"]).any())


# --- contracts ------------------------------------------------------------------------------------------------

_LABELS = Argument("labels", ("P",), "int", "0..C-1 foreground, C background, -1 ignore")
_FOREGROUND = Ruling("foreground", "Only foreground has a mask: an adversary makes positives harder.")
_IMPLIED = "implied by {}; names the law"

ADVERSARIAL_DROPOUT_MASK = Technique(
    id="adversarial_dropout_mask",
    title="Adversarial spatial dropout: the mask",
    family="generative",
    summary="Of the cells that the adversary would block first a fixed number is drawn, for each positive.",
    sources=(PAPER, _CODE),
    oracle=oracle.adversarial_dropout_mask,
    arguments=(
        Argument("probabilities", ("P", "D", "D"), "float", "the adversary's, in [0, 1]"),
        _LABELS,
        Argument("keys", ("P", "D", "D"), "float", "independent uniform random numbers in [0, 1)", is_key=True),
    ),
    options=(
        Option("num_classes", 20, "C"),
        Option("num_candidates", 20, "cells that can be blocked: those of the highest probabilities"),
        Option("num_dropped", 15, "how many of them are"),
    ),
    outputs=(Output("blocked", ("P", "D", "D"), "bool", "True = blocked"),),
    requirements=(
        Requirement("ADM-1", Level.MUST, Kind.VALUE,
                    "Of the candidates, the cells of the highest probabilities, those with the smallest keys.",
                    "section 4.1; explicit keys are ours", value, grids, scenes=(rois_of_vgg,), needs_keys=True,
                    no_mutant="a wrong draw is wrong among equal cells, too, as ADM-2 sees",
                    reaches={"background": lambda c: bool((c.arguments["labels"] == _CLASSES).any()),
                             "ignored": lambda c: bool((c.arguments["labels"] == -1).any()),
                             "nothing dropped": lambda c: c.options["num_dropped"] == 0}),
        Requirement("ADM-2", Level.MUST, Kind.TIES, "Of equal probabilities, and of equal keys, the first cell's.",
                    "ruling ties", value, equal_cells, scenes=(rois_of_few_values,), needs_keys=True, examples=0.5),
        Requirement("ADM-3", Level.MUST, Kind.EMPTY, "Of few cells all are candidates, and no more than all blocked.",
                    "ruling small-grids", value, few_cells, needs_keys=True, examples=0.4),
        Requirement("ADM-4", Level.MUST, Kind.BOUND, "The number is exact, and only candidates of positives count.",
                    "section 4.1", numbers_of_cells, grids, examples=0.5,
                    no_mutant="implied by ADM-1 for candidates with keys; the one exact requirement for those without"),
        Requirement("ADM-5", Level.MUST, Kind.DISTRIBUTION, "Every candidate is blocked with probability q/m.",
                    "hypergeometric", _frequencies(inclusion), one_positive, dtypes=_FULL, examples=0.03,
                    no_mutant="what favours a candidate favours its pairs, which ADM-6 sees too"),
        Requirement("ADM-6", Level.MUST, Kind.DISTRIBUTION,
                    "Two candidates are blocked together with probability q(q-1)/(m(m-1)).", "hypergeometric",
                    _frequencies(lambda found, _, together: pairs(found, together)), one_positive, dtypes=_FULL,
                    examples=0.03),
        Requirement("ADM-7", Level.MUST, Kind.BATCH, "RoIs do not see each other.", "section 4.1",
                    batch_equals_per_image, grids, needs_keys=True, examples=0.2, no_mutant=_IMPLIED.format("ADM-1")),
        Requirement("ADM-8", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal keys give equal masks.",
                    "house rule", purity, grids, needs_keys=True, examples=0.2),
        Requirement("ADM-9", Level.SHOULD, Kind.ERROR, "Labels of another number of RoIs are refused.", "house rule",
                    refuses(bad_shape("labels")), grids, needs_keys=True, examples=0.1),
        Requirement("ADM-10", Level.MAY, Kind.ERROR, "A negative number of cells is refused.", "house rule",
                    refuses(bad_option("num_dropped", -1)), grids, examples=0.1),
    ),
    mutants=MASK_MUTANTS,
    rulings=(
        Ruling("numbers", "15 of the first 20 of 49 cells, as in the code; the paper: of the first half a third."),
        Ruling("polarity", "True = blocked throughout; in the code's thresholding 1 = kept."),
        Ruling("ties", "Of equal probabilities, and of equal keys, the first cell counts, row by row."),
        Ruling("small-grids", "A grid of fewer cells has all of them as candidates, and blocks no more than it has."),
        Ruling("no-rescaling", "The features that are left are not divided by the share of cells that are left."),
        _FOREGROUND,
    ),
    not_applicable={
        Kind.GRADIENT: "a draw has no gradient", Kind.DETACHED: "a draw has no gradient",
        Kind.REDUCES_TO: "a draw among cells", Kind.LIMIT: "no limit", Kind.CONSERVATION: "ADM-4 counts",
        Kind.INVARIANCE: "ADM-1 and ADM-7", Kind.EXTREME: "comparisons only",
    },
)  # fmt: skip

DROPOUT_IS_REWARDED = Technique(
    id="dropout_is_rewarded",
    title="Adversarial spatial dropout: the reward",
    family="generative",
    summary="Masks that took more than a margin off the probability of the true class are worth learning.",
    sources=(PAPER, _CODE),
    oracle=oracle.dropout_is_rewarded,
    arguments=(
        Argument("before", ("P",), "float", "probability of the true class without the mask, in [0, 1]"),
        Argument("after", ("P",), "float", "with it"),
        _LABELS,
    ),
    options=(Option("num_classes", 20, "C"), Option("margin", 0.1, "in [0, 1]")),
    outputs=(Output("rewarded", ("P",), "bool", "whether the mask is learnt"),),
    requirements=(
        Requirement("ADR-1", Level.MUST, Kind.VALUE, "Foreground whose probability fell by more than the margin.",
                    "section 4.1", value, probabilities_before_and_after,
                    reaches={"a drop equal to the margin": _on_the_margin,
                             "background": lambda c: bool((c.arguments["labels"] == _CLASSES).any())}),
        Requirement("ADR-2", Level.MUST, Kind.EMPTY, "No RoI, no reward.", "house rule", value, _no_roi, examples=0.1),
        Requirement("ADR-3", Level.MUST, Kind.BATCH, "RoIs in another order have their rewards in that order.",
                    "house rule", same_as(_reversed_rois, "rewards of reversed RoIs", lambda o, _: o[::-1]),
                    probabilities_before_and_after, examples=0.2, no_mutant=_IMPLIED.format("ADR-1")),
        Requirement("ADR-4", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, probabilities_before_and_after, examples=0.2),
        Requirement("ADR-5", Level.SHOULD, Kind.ERROR, "Probabilities of another number of RoIs are refused.",
                    "house rule", refuses(bad_shape("after")), probabilities_before_and_after, examples=0.1),
        Requirement("ADR-6", Level.MAY, Kind.ERROR, "A margin above 1 is refused.", "house rule",
                    refuses(bad_option("margin", 1.5)), probabilities_before_and_after, examples=0.1),
    ),
    mutants=REWARD_MUTANTS,
    rulings=(
        Ruling("margin", "A drop equal to the margin is not above it; the difference is compared in float64."),
        _FOREGROUND,
    ),
    not_applicable={
        Kind.GRADIENT: "a decision", Kind.DETACHED: "a decision", Kind.REDUCES_TO: "one comparison",
        Kind.LIMIT: "no limit", Kind.CONSERVATION: "conserves nothing", Kind.INVARIANCE: "one comparison",
        Kind.BOUND: "a decision", Kind.TIES: "ADR-1 reaches the margin", Kind.EXTREME: "numbers in [0, 1]",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip

DROPOUT_MASK_LOSS = Technique(
    id="dropout_mask_loss",
    title="Adversarial spatial dropout: the adversary's loss",
    family="generative",
    summary="Binary cross entropy of the cells of the rewarded RoIs, over the number of the cells of all.",
    sources=(PAPER, _CODE),
    oracle=oracle.dropout_mask_loss,
    gradients={"logits": oracle.dropout_mask_loss_grad},
    arguments=(
        Argument("logits", ("P", "D", "D"), "float", "of each cell to be blocked", differentiable=True),
        Argument("targets", ("P", "D", "D"), "bool", "the mask to be learnt"),
        Argument("rewarded", ("P",), "bool", "RoIs that take part"),
    ),
    options=(),
    outputs=(Output("loss", (), "float", "over the cells of all RoIs"),),
    summands=_magnitude,
    requirements=(
        Requirement("ADL-1", Level.MUST, Kind.VALUE, "The sum over the rewarded RoIs, over the number of all cells.",
                    "the code's loss layers", value, logits, scenes=(mini_batch,),
                    no_mutant="a wrong sum is wrong for extreme logits, too, as ADL-4 sees",
                    reaches={"an RoI without a reward": lambda c: not c.arguments["rewarded"].all()}),
        Requirement("ADL-2", Level.MUST, Kind.GRADIENT, "The gradient is (sigmoid - target) over the number of cells.",
                    "derivative of the loss", gradient("logits"), logits, scenes=(mini_batch,), needs_gradient=True,
                    no_mutant="a wrong gradient is wrong for extreme logits, too, as ADL-5 sees"),
        Requirement("ADL-3", Level.MUST, Kind.EMPTY, "Without RoIs, or without a reward, the loss is 0.",
                    "ruling number", value, nothing_to_learn, examples=0.3),
        Requirement("ADL-4", Level.MUST, Kind.EXTREME, "The value follows the formula for logits up to 10^4.",
                    "the stable form", value, extreme_logits, examples=0.5),
        Requirement("ADL-5", Level.MUST, Kind.EXTREME, "The gradient follows its formula for logits up to 10^4.",
                    "the stable form", gradient("logits"), extreme_logits, needs_gradient=True, examples=0.5,
                    no_mutant="a wrong gradient is wrong for ordinary logits, too, as ADL-2 sees"),
        Requirement("ADL-6", Level.MUST, Kind.INVARIANCE,
                    "Logits and targets turned over have the same loss.", "symmetry of the logistic loss",
                    same_as(_turned, "value of turned logits and targets"), logits, examples=0.3,
                    no_mutant=_IMPLIED.format("ADL-1")),
        Requirement("ADL-7", Level.MUST, Kind.BATCH, "The order of the RoIs does not matter.", "house rule",
                    same_as(_reversed_rois, "value of reversed RoIs"), logits, examples=0.2,
                    no_mutant=_IMPLIED.format("ADL-1")),
        Requirement("ADL-8", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, logits, examples=0.2),
        Requirement("ADL-9", Level.SHOULD, Kind.ERROR, "Rewards of another number of RoIs are refused.", "house rule",
                    refuses(bad_shape("rewarded")), logits, examples=0.1),
    ),
    mutants=LOSS_MUTANTS,
    rulings=(
        Ruling("number", "The number of cells is that of all RoIs, also of those without a reward, as in the code."),
        Ruling("zeros", "Cells of target 0 have their gradient; to drop some, an option of the code, is no loss's."),
    ),
    not_applicable={
        Kind.DETACHED: "no constant factor", Kind.REDUCES_TO: "plain binary cross entropy already",
        Kind.LIMIT: "ADL-4", Kind.CONSERVATION: "conserves nothing", Kind.BOUND: "ADL-1", Kind.TIES: "no comparison",
        Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
