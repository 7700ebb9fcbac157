"""Contract of PISA's importance-based sample reweighting of negatives (ISR-N).

Cao, Chen, Loy, Lin, "Prime Sample Attention in Object Detection", CVPR 2020 (arXiv 1904.04821).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import Bench, bad_option, bad_shape, plain, purity, refuses, sending, value
from steelyard.conformance.contract import (
    Argument,
    Array,
    Case,
    Kind,
    Level,
    Mutant,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import PRECISIONS, round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, option
from steelyard.conformance.soft_sampling.pisa_negatives import crowd, matched, on_the_grid
from steelyard.reference.soft_sampling import pisa_negatives as oracle

_PAPER = 'Cao et al., "Prime Sample Attention in Object Detection", CVPR 2020, arXiv 1904.04821'
_WEIGHTS = oracle.isr_n_weights

# --- inputs ---------------------------------------------------------------------------------------------------


def sampled(draw: Draw) -> Case:
    """Fewer samples than valid negatives, or as many."""
    case = matched(draw)
    number = len(case.arguments["scores"])
    losses = round_to(case.dtype, draw.array((number,), lambda: 4.0 * draw.fraction() + 0.01))
    keys = ((draw.integer(0, 31) + 17.0 * np.arange(number)) % 64.0) / 64.0
    options: dict[str, OptionValue] = {
        "num_expected": draw.integer(1, number),
        "score_threshold": 0.0,
        "iou_threshold": case.options["iou_threshold"],
        "gamma": draw.choice((0.5, 1.0, 2.0)),
        "beta": draw.choice((0.0, 0.25)),
    }
    return Case({**case.arguments, "classification_losses": losses, "keys": keys}, options, case.dtype)


def filled_up(draw: Draw) -> Case:
    """Scores below the threshold among them, and more samples wanted than are above it."""
    case = sampled(draw)
    number = len(case.arguments["scores"])
    return case.with_options(score_threshold=draw.choice((0.1, 0.2, 0.05)), num_expected=number + draw.integer(-1, 2))


def at_the_threshold(draw: Draw) -> Case:
    """A score equal to the threshold, whose box the keys choose last."""
    case = sampled(draw)
    number = len(case.arguments["scores"])
    first = case.arguments["scores"] == 1 / 64
    keys = np.where(first, 63 / 64, case.arguments["keys"] / 2.0)
    return case.with_arguments(keys=keys).with_options(score_threshold=1 / 64, num_expected=number)


def none_valid(draw: Draw) -> Case:
    """All scores below the threshold, no sample wanted, no loss left, or neither a score above nor a loss."""
    case = sampled(draw)
    kind = draw.integer(0, 3)
    if kind == 1:
        return case.with_options(num_expected=0)
    if kind >= 2:
        case = case.with_arguments(classification_losses=np.zeros(len(case.arguments["scores"])))
    return case if kind == 2 else case.with_options(score_threshold=0.75)


def no_negative(draw: Draw) -> Case:
    """No box at all."""
    case = sampled(draw)
    return case.with_arguments(**{name: values[:0] for name, values in case.arguments.items()})


def channels(draw: Draw) -> Case:
    """Losses of the channels of a sigmoid head."""
    case = sampled(draw)
    shape = (len(case.arguments["scores"]), 2)
    losses = round_to(case.dtype, draw.array(shape, lambda: 4.0 * draw.fraction() + 0.01))
    return case.with_arguments(classification_losses=losses)


def masked(draw: Draw) -> Case:
    """Boxes of objects, or padding, among the others; the best score, and samples, to be found without them."""
    case = draw.choice((sampled, filled_up))(draw)
    return case.with_arguments(mask=_mask(draw, case))


def broken_elsewhere(draw: Draw) -> Case:
    """NaN for the losses of what is no negative."""
    case = masked(draw)
    losses = np.where(case.arguments["mask"], case.arguments["classification_losses"], np.nan)
    return case.with_arguments(classification_losses=losses)


def _mask(draw: Draw, case: Case) -> Array:
    return draw.array(case.arguments["scores"].shape, lambda: float(draw.flag(60))) == 1.0


def equal_keys(seed: int) -> Case:
    """3,000 negatives, of which about three quarters are below the threshold, with keys of 16 values."""
    case = scene(seed)
    first = {name: values[:3000] for name, values in case.arguments.items()}
    keys = np.random.default_rng(seed).integers(0, 16, 3000) / 16.0
    return case.with_arguments(**{**first, "keys": keys}).with_options(score_threshold=0.3755, num_expected=1800)


def tied(draw: Draw) -> Case:
    """Keys of two values, and fewer wanted than there are."""
    case = filled_up(draw)
    wanted = max(len(case.arguments["scores"]) - draw.integer(1, 3), 0)
    keys = np.floor(2.0 * case.arguments["keys"]) / 2.0
    return case.with_arguments(keys=keys).with_options(num_expected=wanted)


def no_weighed_loss(draw: Draw) -> Case:
    """No loss of the most important one, and next to no importance of the others."""
    case = sampled(draw)
    case = case.with_options(num_expected=len(case.arguments["scores"]), gamma=2.0**14, beta=0.0)
    scores = case.arguments["scores"]
    first = (scores == scores.max()) & (len(scores) > 1)
    return case.with_arguments(classification_losses=np.where(first, 0.0, case.arguments["classification_losses"]))


def huge_losses(draw: Draw) -> Case:
    """Losses whose sum is beyond the format, or whose products are below it; some of them 0, but not the largest."""
    case = sampled(draw)
    losses = case.arguments["classification_losses"]
    none = (draw.array(losses.shape, lambda: float(draw.flag(30))) == 1.0) & (losses < losses.max())
    size = draw.choice((PRECISIONS[case.dtype].largest, 1e-30))
    return case.with_arguments(classification_losses=round_to(case.dtype, size * np.where(none, 0.0, losses / 4.5)))


def flat(draw: Draw) -> Case:
    """With gamma 0 or beta 1, all wanted."""
    case = sampled(draw)
    number = len(case.arguments["scores"])
    return case.with_options(num_expected=number, **draw.choice(({"gamma": 0.0}, {"beta": 1.0})))


def scene(seed: int) -> Case:
    """4,200 negatives, of which a mini-batch takes 5,000: none is left out."""
    case = crowd(seed)
    random = np.random.default_rng(seed)
    number = len(case.arguments["scores"])
    losses = round_to("float32", random.exponential(0.5, number))
    keys = random.permutation(number) / 2.0**13
    options: dict[str, OptionValue] = {
        "num_expected": 5000, "score_threshold": 0.05, "iou_threshold": 0.5, "gamma": 0.5, "beta": 0.0,
    }  # fmt: skip
    arguments = {**case.arguments, "classification_losses": losses, "keys": keys}
    return Case(arguments, options, "float32", origin=case.origin)


# --- laws -----------------------------------------------------------------------------------------------------


def losses_are_conserved(bench: Bench, case: Case) -> None:
    """As many as are wanted; their weighed losses add up to what they did."""
    selected, weights = bench.evaluate(case).outputs
    losses = case.arguments["classification_losses"]
    wanted = min(int(option(case, "num_expected")), len(losses))
    bench.expect(int(selected.sum()) == wanted, f"{int(selected.sum())} samples where {wanted} are wanted", case)
    total = np.asarray(weights, dtype=np.float64) @ losses
    plain(bench, case, np.asarray(total), np.asarray(losses[selected].sum()), "sum of the losses")


# --- mutants --------------------------------------------------------------------------------------------------


def _weighing(
    *,
    valid: Callable[[Array, float], Array] = lambda s, t: s > t,
    rank: Callable[[Array, Array], Array] = oracle.score_hierarchical_local_rank,
    upper: Callable[[int, int], int] = max,
    filler: float | None = None,
    largest_keys: bool = False,
    ratio: bool = True,
    without_fillers: bool = False,
    no_beta: bool = False,
) -> Callable[..., tuple[Array, Array]]:
    """ISR-N with one thing wrong."""

    def function(**keywords: Any) -> tuple[Array, Array]:  # noqa: ANN401
        right = _WEIGHTS(**keywords)
        score, key = (np.asarray(keywords[name], dtype=np.float64) for name in ("scores", "keys"))
        losses = np.asarray(keywords["classification_losses"], dtype=np.float64)
        loss = losses if losses.ndim == 1 else losses.sum(axis=1)
        negative = np.asarray(keywords.get("mask", np.ones(score.shape, dtype=bool)))
        good = negative & valid(score, keywords["score_threshold"])
        groups = oracle.nms_match(keywords["boxes"], score, iou_threshold=keywords["iou_threshold"], mask=good)
        place = rank(score, groups)
        wanted, number = int(right.selected.sum()), int(good.sum())
        m = min(number, wanted)
        ranked = good & (place < m)
        others = [i for i in np.argsort(-key if largest_keys else key, kind="stable") if negative[i] and not good[i]]
        fillers = np.isin(np.arange(len(score)), others[: wanted - m])
        n = max(upper(wanted, number), 1)
        u = np.where(ranked, (n - place) / n, 0.0)
        u[fillers] = filler if filler is not None else (u[ranked].min() if m else 1.0)
        beta = 0.0 if no_beta else keywords["beta"]
        g = ((1.0 - beta) * np.maximum(u, 0.0) + beta) ** keywords["gamma"]
        selected = ranked | fillers
        part = ranked if without_fillers else selected
        below = (g * loss)[part].sum()
        share = loss[part].sum() / below if ratio and below > 0 else 1.0
        return selected, np.where(selected, g * share, 0.0)

    return function


def _by_score(scores: Array, groups: Array) -> Array:
    return oracle.score_hierarchical_local_rank(scores, np.where(groups >= 0, np.arange(len(groups)), -1))


def _first_channel(**keywords: Any) -> Any:  # noqa: ANN401
    losses = np.asarray(keywords["classification_losses"])
    return _WEIGHTS(**{**keywords, "classification_losses": losses[:, 0] if losses.ndim > 1 else losses})


def _nan_without_loss(**keywords: Any) -> tuple[Array, Array]:  # noqa: ANN401
    selected, weights = _WEIGHTS(**keywords)
    lost = np.sum(np.asarray(keywords["classification_losses"])[selected]) == 0
    return selected, np.where(selected & lost, np.nan, weights)


def _mask_ignored(*, classification_losses: Array, mask: Array | None = None, **keywords: Any) -> Any:  # noqa: ANN401
    return _WEIGHTS(classification_losses=np.where(np.isnan(classification_losses), 1.0, classification_losses),
                    **keywords)  # fmt: skip


def _looks_at_all_losses(*, classification_losses: Array, mask: Array | None = None, **keywords: Any) -> Any:  # noqa: ANN401
    selected, weights = _WEIGHTS(classification_losses=classification_losses, mask=mask, **keywords)
    return selected, weights * (np.nan if np.isnan(classification_losses).any() else 1.0)


def _last_of_equal(**keywords: Any) -> tuple[Array, Array]:  # noqa: ANN401
    keys = np.asarray(keywords["keys"], dtype=np.float64)
    return _WEIGHTS(**{**keywords, "keys": keys + 2.0**-40 * np.arange(len(keys))[::-1]})


def _nan_without_weighed_loss(**keywords: Any) -> tuple[Array, Array]:  # noqa: ANN401
    selected, weights = _WEIGHTS(**keywords)
    losses = np.asarray(keywords["classification_losses"], dtype=np.float64)
    loss = np.where(selected, losses if losses.ndim == 1 else losses.sum(axis=-1), 0.0)
    lost = loss.any() and not (weights * loss).any()
    return selected, np.where(selected & lost, np.nan, weights)


def _plain_sums(**keywords: Any) -> tuple[Array, Array]:  # noqa: ANN401
    """NaN where the losses' sum is beyond their own format."""
    selected, weights = _WEIGHTS(**keywords)
    losses = np.asarray(keywords["classification_losses"])
    with np.errstate(over="ignore"):
        total = losses[selected].sum(dtype=losses.dtype)
    return selected, np.where(selected & np.isinf(total), np.nan, weights)


def _lost_tail(**keywords: Any) -> tuple[Array, Array]:  # noqa: ANN401
    selected, weights = _WEIGHTS(**keywords)
    tail = (np.arange(len(weights)) >= 4096) & (len(weights) > 4096)
    return selected & ~tail, np.where(tail, 0.0, weights)


_MUTANTS = (
    Mutant("isr-n/by-score", "the first by their score, whatever their cluster", _weighing(rank=_by_score)),
    Mutant("isr-n/at-threshold-valid", "a score equal to the threshold valid", _weighing(valid=lambda s, t: s >= t)),
    Mutant("isr-n/largest-keys", "fillers with the largest keys", _weighing(largest_keys=True)),
    Mutant("isr-n/fillers-weigh-all", "fillers with the weight of the first", _weighing(filler=1.0)),
    Mutant("isr-n/fillers-weigh-nothing", "fillers with u = 0", _weighing(filler=0.0)),
    Mutant("isr-n/ratio-without-fillers", "a ratio of the ranked ones alone", _weighing(without_fillers=True)),
    Mutant("isr-n/number-of-valid", "U the number of valid negatives", _weighing(upper=lambda _, v: v)),
    Mutant("isr-n/number-wanted", "U the number of samples", _weighing(upper=lambda e, _: e)),
    Mutant("isr-n/no-ratio", "no ratio", _weighing(ratio=False)),
    Mutant("isr-n/no-beta", "no beta", _weighing(no_beta=True)),
    Mutant("isr-n/unguarded", "NaN where no loss is left", _nan_without_loss),
    Mutant("isr-n/unguarded-products", "NaN where the importance leaves no loss", _nan_without_weighed_loss),
    Mutant("isr-n/plain-sums", "NaN where the sum of the losses is beyond the format", _plain_sums),
    Mutant("isr-n/mask-ignored", "all boxes taken for negatives", _mask_ignored),
    Mutant("isr-n/all-losses", "NaN from the loss of what is no negative", _looks_at_all_losses),
    Mutant("isr-n/last-of-equal", "of equal keys the last", _last_of_equal),
    Mutant("isr-n/first-channel", "only the first channel's loss", _first_channel),
    Mutant("isr-n/zero-gamma-is-default", "gamma = 0 taken as not given",
           mistakes.with_default_for_zero(_WEIGHTS, "gamma", 0.5)),
    Mutant("isr-n/in-place", "its losses overwritten", mistakes.overwriting(_WEIGHTS, "classification_losses")),
    Mutant("isr-n/broadcast", "losses repeated for scores of another number",
           mistakes.broadcasting(_WEIGHTS, "classification_losses", "scores")),
    Mutant("isr-n/unchecked", "no check of its options", mistakes.unchecked(
        _WEIGHTS, gamma=mistakes.at_least_0, beta=lambda v: min(max(v, 0.0), 1.0))),
    Mutant("isr-n/raises-on-empty", "an error without negatives", mistakes.failing_on_empty(_WEIGHTS, "scores")),
    Mutant("isr-n/lost-tail", "what is beyond the last whole chunk lost", _lost_tail),
)  # fmt: skip

# --- contract -------------------------------------------------------------------------------------------------

_IMPLIED = "implied by the values; kept because a failure then names the law that is broken"

ISR_N_WEIGHTS = Technique(
    id="isr_n_weights",
    title="Importance-based sample reweighting of negatives (ISR-N, PISA)",
    family="soft_sampling",
    summary="Which negatives of an image are sampled, with weights that fall with the rank and keep the losses' sum.",
    sources=(_PAPER, "mmdet's ScoreHLRSampler"),
    oracle=_WEIGHTS,
    arguments=(
        Argument("scores", ("N",), "float", "highest foreground score of each negative", domain=on_the_grid),
        Argument("boxes", ("N", "4"), "float", "decoded box of that class", domain=on_the_grid),
        Argument("classification_losses", ("N",), "float", "loss of each, or of its channels; a constant"),
        Argument("keys", ("N",), "float", "random numbers in [0, 1): the smallest ones fill up", domain=on_the_grid),
        Argument("mask", ("N",), "bool", "False for what is no negative", optional=True),
    ),
    options=(
        Option("num_expected", 64, "samples wanted; the specification has no default"),
        Option("score_threshold", 0.05, "score above which a negative is ranked"),
        Option("iou_threshold", 0.5, "of the NMS-match"),
        Option("gamma", 0.5, "degree of preference for prime samples"),
        Option("beta", 0.0, "weight of the last rank in proportion to the first one's"),
    ),
    outputs=(
        Output("selected", ("N",), "bool", "the sampled negatives"),
        Output("weights", ("N",), "float", "their weights, 0 elsewhere"),
    ),
    requirements=(
        Requirement("IN-1", Level.MUST, Kind.VALUE,
                    "The first by Score-HLR, with weights ((1 - beta) u + beta)^gamma, times one ratio.",
                    "section 3, ISR", value, sampled, scenes=(scene,), dtypes=FULL,
                    reaches={"fewer wanted than there are":
                             lambda c: option(c, "num_expected") < len(c.arguments["scores"])}),
        Requirement("IN-2", Level.MUST, Kind.VALUE,
                    "What is not above the threshold fills up by its key, and weighs as the last one that is ranked.",
                    "mmdet ScoreHLRSampler", value, filled_up, dtypes=FULL,
                    no_mutant="IN-1's scene and IN-5 meet fillers too; here some stand beside ranked ones"),
        Requirement("IN-3", Level.MUST, Kind.VALUE, "Losses of several channels are summed.", "section 3, ISR", value,
                    channels, dtypes=FULL, examples=0.5),
        Requirement("IN-4", Level.MUST, Kind.TIES, "A score equal to the threshold is not ranked.", "ruling threshold",
                    value, at_the_threshold, dtypes=FULL, examples=0.5),
        Requirement("IN-5", Level.MUST, Kind.EMPTY, "Without a ranked negative, a sample or a loss the ratio is 1.",
                    "ruling empty", value, none_valid, dtypes=FULL, examples=0.5),
        Requirement("IN-6", Level.MUST, Kind.EMPTY, "Without negatives nothing is sampled.", "house rule", value,
                    no_negative, dtypes=FULL, examples=0.05),
        Requirement("IN-7", Level.MUST, Kind.REDUCES_TO, "At gamma 0 or beta 1 all weights are 1.", "section 3, ISR",
                    value, flat, dtypes=FULL, examples=0.3),
        Requirement("IN-8", Level.MUST, Kind.CONSERVATION, "As many as are wanted; the sum of their losses is kept.",
                    "section 3, ISR", losses_are_conserved, filled_up, examples=0.3, no_mutant=_IMPLIED,
                    dtypes=("float64",)),
        Requirement("IN-9", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, sampled, dtypes=FULL, examples=0.3),
        Requirement("IN-10", Level.SHOULD, Kind.ERROR, "Losses of another number than the scores' are refused.",
                    "house rule", refuses(bad_shape("classification_losses")), sampled, dtypes=FULL, examples=0.2),
        Requirement("IN-11", Level.MAY, Kind.ERROR, "A negative gamma and a beta outside [0, 1] are refused.",
                    "house rule", refuses(bad_option("gamma", -1.0), bad_option("beta", 1.5)), sampled, dtypes=FULL,
                    examples=0.2),
        Requirement("IN-12", Level.SHOULD, Kind.VALUE, "What the mask leaves out is no negative, whatever its score.",
                    "mmdet ScoreHLRSampler: of the negatives", sending("mask"), masked, dtypes=FULL, examples=0.5,
                    no_mutant="a mask that is ignored is so beside broken losses too, as IN-13 sees",
                    reaches={"the best box left out":
                             lambda c: not c.arguments["mask"][c.arguments["scores"].argmax()]}),
        Requirement("IN-13", Level.MAY, Kind.EXTREME, "Losses of what is no negative are not looked at.",
                    "section 3, ISR", sending("mask"), broken_elsewhere, dtypes=FULL, examples=0.3),
        Requirement("IN-14", Level.SHOULD, Kind.TIES, "Of equal keys the lower index's is the smaller.",
                    "ruling keys", value, tied, scenes=(equal_keys,), dtypes=FULL, examples=0.5),
        Requirement("IN-15", Level.MAY, Kind.EMPTY, "Where the importance leaves no loss the ratio is 1.",
                    "ruling empty", value, no_weighed_loss, dtypes=FULL, examples=0.3),
        Requirement("IN-16", Level.MAY, Kind.EXTREME, "The unit of the losses does not matter.", "section 3, ISR",
                    value, huge_losses, dtypes=FULL, examples=0.5),
    ),
    mutants=_MUTANTS,
    rulings=(
        Ruling("keys", "Fillers have the smallest keys; of equal ones the lower index's counts."),
        Ruling("threshold", "A score equal to the threshold is not ranked."),
        Ruling("empty", "Without a ranked negative all are drawn, with weight 1; without a loss the ratio is 1."),
    ),
    not_applicable={
        Kind.GRADIENT: "the weights are constants", Kind.DETACHED: "the weights are constants",
        Kind.LIMIT: "IN-7 has the ends of gamma and beta", Kind.BOUND: "IN-8: the sum bounds them",
        Kind.INVARIANCE: "those of the ranks: score_hierarchical_local_rank", Kind.BATCH: "one image",
        Kind.DISTRIBUTION: "the keys decide, and IN-2 compares exactly",
    },
)  # fmt: skip
