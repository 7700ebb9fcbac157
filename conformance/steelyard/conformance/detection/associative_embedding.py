"""Contracts of associative embedding: the tags of an object are pulled together, those of two pushed apart.

Law and Deng, "CornerNet", ECCV 2018 (arXiv 1808.01244), section 3.3, equations 4 and 5; Newell et al., "Associative
Embedding", NIPS 2017 (arXiv 1611.05424).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

from steelyard.conformance import plain_mistakes as mistakes
from steelyard.conformance.checking import (
    Bench,
    bad_option,
    bad_shape,
    gradient,
    leaving_out,
    padding,
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
    Mutant,
    Option,
    OptionValue,
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.precision import round_to
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF, option
from steelyard.reference.detection import associative_embedding as oracle

_PAPER = 'Law and Deng, "CornerNet", ECCV 2018, arXiv 1808.01244'
_TAGS = ("top_left_tags", "bottom_right_tags")
Function = Callable[..., Any]

# --- inputs ---------------------------------------------------------------------------------------------------


class TagInputs:
    """Tags of the corners of up to six objects, with the options that a loss has."""

    def __init__(self, **options: tuple[OptionValue, ...]) -> None:
        self._options = options

    def _case(self, draw: Draw, one: Array, other: Array, mask: Array) -> Case:
        dtype = draw.dtype()
        tags = dict(zip(_TAGS, (round_to(dtype, one), round_to(dtype, other)), strict=True))
        options = {name: draw.choice(choices) for name, choices in self._options.items()}
        return Case({**tags, "object_mask": mask}, options, dtype, cotangent=draw.cotangent((), dtype))

    def objects(self, draw: Draw) -> Case:
        """Means that are multiples of 1/2 plus a sixteenth an object: no two are equal or exactly a margin apart."""
        number = draw.integer(1, 6)
        mean = draw.array((number,), lambda: float(draw.integer(0, 5)) / 2.0) + np.arange(number) / 16.0
        apart = draw.array((number,), lambda: draw.choice((0.25, -0.5, 0.0, 1.0, -1.5)))
        mask = np.array([not draw.flag(20) for _ in range(number)], dtype=bool)
        return self._case(draw, mean - apart / 2.0, mean + apart / 2.0, mask)

    def one_object(self, draw: Draw) -> Case:
        """One object among none to three rows of padding."""
        case = self.objects(draw)
        mask = np.zeros(len(case.arguments["object_mask"]), dtype=bool)
        mask[draw.integer(0, len(mask) - 1)] = True
        return Case({**case.arguments, "object_mask": mask}, case.options, case.dtype, case.cotangent)

    def nothing(self, draw: Draw) -> Case:
        """No row, or rows without an object."""
        number = draw.choice((0, 2))
        return self._case(draw, np.ones(number), np.zeros(number), np.zeros(number, dtype=bool))

    def large_tags(self, draw: Draw) -> Case:
        """Tags near 1000, an eighth or more apart: float32 squares of theirs would cancel."""
        case = self.objects(draw)
        shifted = {name: case.arguments[name] + 1000.0 for name in _TAGS}
        dtype = draw.dtype(FULL)
        return Case({**case.arguments, **shifted}, case.options, dtype, case.cotangent)

    def crowd(self, seed: int) -> Case:
        """128 rows, half of them objects, as CornerNet pads its targets."""
        random = np.random.default_rng(seed)
        mean = random.permutation(128) * 0.0625 + 0.013
        apart = random.choice([0.25, -0.5, 0.125], 128)
        one, other = (round_to("float32", mean + sign * apart / 2.0) for sign in (-1, 1))
        arguments = {**dict(zip(_TAGS, (one, other), strict=True)), "object_mask": np.arange(128) < 64}
        options = {name: choices[0] for name, choices in self._options.items()}
        return Case(arguments, options, "float32", origin=f"scene {seed}")


_PULL_INPUTS, _PUSH_INPUTS = TagInputs(), TagInputs(margin=(1.0, 0.5, 2.0))


def equal_and_at_the_margin(draw: Draw) -> Case:
    """Means that are equal, or exactly the margin apart: the loss has kinks there."""
    number = draw.integer(2, 5)
    mean = draw.array((number,), lambda: draw.choice((0.0, 1.0, 0.0, 0.5, 2.0)))
    arguments = {**dict.fromkeys(_TAGS, mean), "object_mask": np.ones(number, dtype=bool)}
    arguments["bottom_right_tags"] = mean.copy()
    return Case(arguments, {"margin": draw.choice((1.0, 0.5, 2.0))}, draw.dtype())


# --- laws -----------------------------------------------------------------------------------------------------


def _shifted(case: Case) -> Case:
    return case.with_arguments(**{name: case.arguments[name] + 4.0 for name in _TAGS})


def _exchanged(case: Case) -> Case:
    one, other = (case.arguments[name] for name in _TAGS)
    return case.with_arguments(**dict(zip(_TAGS, (other, one), strict=True)))


def _reversed(case: Case) -> Case:
    return case.with_arguments(**{name: values[::-1].copy() for name, values in case.arguments.items()})


def _within_margin(bench: Bench, case: Case) -> None:
    found, margin = float(bench.evaluate(case).outputs[0]), option(case, "margin")
    bench.expect(-1e-6 <= found <= margin * (1 + 1e-2), f"expected a loss in [0, {margin}], got {found:.9g}", case)


def _not_negative(bench: Bench, case: Case) -> None:
    found = float(bench.evaluate(case).outputs[0])
    bench.expect(found >= 0.0, f"expected a loss of at least 0, got {found:.9g}", case)


def _terms(function: Function) -> Callable[[Case], tuple[int, Array]]:
    """Number of terms, and their sum: none is negative."""

    def summands(case: Case) -> tuple[int, Array]:
        mask = case.arguments.get("object_mask")
        number = int(mask.sum()) if mask is not None else len(case.arguments[_TAGS[0]])
        return max(number**2, 1), np.asarray(function(**case.arguments, **case.options))

    return summands


def _rounded_tags(case: Case, u: float) -> Array:
    """A mean of two tags is off by a roundoff of the tags, and so is each distance."""
    largest = max((float(np.abs(case.arguments[name]).max(initial=0.0)) for name in _TAGS), default=0.0)
    return np.asarray(4.0 * u * largest * (1.0 + largest * (not case.options)))


# --- mutants --------------------------------------------------------------------------------------------------

_PULL, _PUSH = oracle.pull_loss, oracle.push_loss
_PULL_GRAD, _PUSH_GRAD = oracle.pull_loss_grad_top_left_tags, oracle.push_loss_grad_top_left_tags


def _objects(top_left_tags: Array, bottom_right_tags: Array, object_mask: Array) -> tuple[Array, Array]:
    mask = np.asarray(object_mask, dtype=bool)
    return np.asarray(top_left_tags, dtype=np.float64)[mask], np.asarray(bottom_right_tags, dtype=np.float64)[mask]


def _pull(change: Callable[[Array, Array, int], float]) -> Function:
    """Another loss of the two corners and the number of rows."""

    def mutant(**keywords: Any) -> Array:  # noqa: ANN401
        _PULL(**keywords)
        one, other = _objects(**keywords)
        return np.asarray(change(one, other, len(keywords["object_mask"])))

    return mutant


def _push(change: Callable[[Array, Array, float], float]) -> Function:
    """Another loss of the distances between means (without the diagonal) and the margin."""

    def mutant(*, margin: float, **keywords: Any) -> Array:  # noqa: ANN401
        _PUSH(margin=margin, **keywords)
        one, other = _objects(**keywords)
        mean = (one + other) / 2.0
        distance = np.abs(mean[:, None] - mean)
        return np.asarray(change(distance, ~np.eye(len(mean), dtype=bool), margin))

    return mutant


def _pairs(number: int) -> int:
    return max(number * (number - 1), 1)


def _scaled(function: Function, factor: float) -> Function:
    return lambda **keywords: factor * np.asarray(function(**keywords))


def _ignoring_mask(function: Function) -> Function:
    return lambda **keywords: function(**{**keywords, "object_mask": np.ones(len(keywords["object_mask"]), bool)})


def _official_push(distance: Array, others: Array, margin: float) -> float:
    number = len(distance)
    share = 1.0 / (number + 1e-4)
    summed = np.maximum(0.0, margin - distance) - share
    return float((summed / ((number - 1) * number + 1e-4)).sum())


def _common(prefix: str, right: Function, derivative: Function) -> tuple[Mutant, ...]:
    return (
        Mutant(f"{prefix}/padding-counted", "rows without an object counted", _ignoring_mask(right),
               _ignoring_mask(derivative)),
        Mutant(f"{prefix}/gradient-doubled", "twice the gradient", right, _scaled(derivative, 2.0)),
        Mutant(f"{prefix}/in-place", "its tags overwritten", mistakes.overwriting(right, "top_left_tags")),
        Mutant(f"{prefix}/broadcast", "one tag repeated", mistakes.broadcasting(
            right, "bottom_right_tags", "top_left_tags")),
        Mutant(f"{prefix}/raises-on-empty", "an error without objects", mistakes.failing_on_empty(
            right, "top_left_tags")),
        Mutant(f"{prefix}/no-mask-is-none", "no object without a mask", mistakes.without(
            right, "object_mask", "top_left_tags", mistakes.none_of)),
    )  # fmt: skip


_PULL_MUTANTS = (
    Mutant("pull/doubled", "the squared distance of the corners", _scaled(_PULL, 2.0), _scaled(_PULL_GRAD, 2.0)),
    Mutant("pull/sum", "the sum over the objects", _pull(lambda a, b, _: float(((a - b) ** 2 / 2.0).sum()))),
    Mutant("pull/by-rows", "by the number of rows, padding included", _pull(
        lambda a, b, rows: float(((a - b) ** 2 / 2.0).sum() / max(rows, 1)))),
    Mutant("pull/absolute", "distances, not their squares", _pull(
        lambda a, b, _: float(np.abs(a - b).sum() / max(len(a), 1)))),
    Mutant("pull/epsilon", "1e-4 added to the number of objects", _pull(
        lambda a, b, _: float(((a - b) ** 2 / 2.0).sum() / (len(a) + 1e-4))), seen_in="CornerNet's own code"),
    Mutant("pull/squares", "squares of the tags less that of the mean, in float32", _pull(
        lambda a, b, _: float((np.float32(a) ** 2 + np.float32(b) ** 2 - np.float32(a + b) ** 2 / 2).sum()
                              / max(len(a), 1)))),
    Mutant("pull/zero-by-zero", "NaN without objects", _pull(
        lambda a, b, _: float(((a - b) ** 2 / 2.0).sum() / len(a)) if len(a) else np.nan)),
    *_common("pull", _PULL, _PULL_GRAD),
)  # fmt: skip

_PUSH_MUTANTS = (
    Mutant("push/own-pair", "each object pushed from itself", _push(
        lambda d, _, m: float(np.maximum(0.0, m - d).sum() / _pairs(len(d)))), seen_in="CornerNet #51"),
    Mutant("push/official", "1e-4 added to denominators, the diagonal kept and its share subtracted", _push(
        _official_push), seen_in="CornerNet's own code: 0.9999 for one object"),
    Mutant("push/all-pairs", "the mean over N^2 pairs", _push(
        lambda d, o, m: float(np.maximum(0.0, m - d)[o].sum() / max(len(d) ** 2, 1)))),
    Mutant("push/each-pair-once", "each pair once, by the number of ordered pairs", _scaled(_PUSH, 0.5),
           _scaled(_PUSH_GRAD, 0.5)),
    Mutant("push/sum", "the sum over the pairs", _push(lambda d, o, m: float(np.maximum(0.0, m - d)[o].sum()))),
    Mutant("push/squared", "squares of what lacks", _push(
        lambda d, o, m: float((np.maximum(0.0, m - d) ** 2)[o].sum() / _pairs(len(d))))),
    Mutant("push/no-floor", "pairs beyond the margin rewarded", _push(
        lambda d, o, m: float((m - d)[o].sum() / _pairs(len(d))))),
    Mutant("push/never", "no pair found, for bool masks add up to True", lambda **k: 0.0 * np.asarray(_PUSH(**k)),
           seen_in="CornerNet #179: (mask + mask) == 2"),
    Mutant("push/margin-one", "a margin of 1, whatever was asked for", lambda **k: _PUSH(**{**k, "margin": 1.0}),
           lambda **k: _PUSH_GRAD(**{**k, "margin": 1.0})),
    Mutant("push/zero-by-zero", "NaN for fewer than two objects", _push(
        lambda d, o, m: float(np.maximum(0.0, m - d)[o].sum() / _pairs(len(d))) if len(d) > 1 else np.nan)),
    Mutant("push/gradient-negated", "objects pulled together", _PUSH, _scaled(_PUSH_GRAD, -1.0)),
    Mutant("push/unchecked", "no check of its margin", mistakes.unchecked(_PUSH, margin=lambda m: max(m, 1e-3))),
    *_common("push", _PUSH, _PUSH_GRAD),
)  # fmt: skip

# --- contracts ------------------------------------------------------------------------------------------------

_ARGUMENTS = (
    Argument("top_left_tags", ("M",), "float", "embedding of each top left corner", differentiable=True),
    Argument("bottom_right_tags", ("M",), "float", "embedding of each bottom right corner", differentiable=True),
    Argument("object_mask", ("M",), "bool", "rows that hold an object"),
)
_IMPLIED = "implied by {}-1; kept because a failure then names the law that is broken"
_NOT_APPLICABLE = {
    Kind.REDUCES_TO: "no simpler technique", Kind.CONSERVATION: "conserves nothing",
    Kind.DETACHED: "nothing is held constant: the gradient says so", Kind.BATCH: "one image",
    Kind.LIMIT: "no limit", Kind.DISTRIBUTION: "not random",
}  # fmt: skip


def _requirements(prefix: str, inputs: TagInputs, text: str, *, bound: Requirement) -> tuple[Requirement, ...]:
    implied = _IMPLIED.format(prefix)
    equation = "equation 4" if prefix == "PULL" else "equation 5"
    return (
        Requirement(f"{prefix}-1", Level.MUST, Kind.VALUE, text, equation, value, inputs.objects,
                    scenes=(inputs.crowd,), dtypes=FULL,
                    no_mutant=f"a wrong loss is wrong for large tags too, {prefix}-6",
                    reaches={"a row without an object": lambda c: not c.arguments["object_mask"].all()}),
        Requirement(f"{prefix}-2", Level.MUST, Kind.GRADIENT, "The gradient by the top left tags.", equation,
                    gradient("top_left_tags"), inputs.objects, needs_gradient=True, dtypes=FULL,
                    no_mutant="" if prefix == "PULL" else "PUSH-16 judges the same gradient at its kinks"),
        Requirement(f"{prefix}-3", Level.MUST, Kind.GRADIENT, "The gradient by the bottom right tags.", equation,
                    gradient("bottom_right_tags"), inputs.objects, needs_gradient=True, dtypes=FULL, examples=0.3,
                    no_mutant="mutants have one gradient, by the first argument"),
        Requirement(f"{prefix}-4", Level.MUST, Kind.EMPTY, "A single object, among padding.", "ruling few", value,
                    inputs.one_object, dtypes=FULL, examples=0.3, no_mutant=implied),
        Requirement(f"{prefix}-5", Level.MUST, Kind.EMPTY, "Without objects the loss is 0.", "ruling few", value,
                    inputs.nothing, dtypes=FULL, examples=0.1),
        Requirement(f"{prefix}-6", Level.MUST, Kind.EXTREME, "Large tags are as good as small ones.", equation, value,
                    inputs.large_tags, dtypes=FULL, examples=0.5,
                    no_mutant="what cancels here is lost to a lesser degree in small tags"),
        Requirement(f"{prefix}-7", Level.SHOULD, Kind.EXTREME, "Half-precision tags are computed in float32.",
                    "house rule", value, inputs.objects, dtypes=HALF, examples=0.3, no_mutant=implied),
        Requirement(f"{prefix}-8", Level.MUST, Kind.INVARIANCE, "A constant added to all tags changes nothing.",
                    "equations 4 and 5", same_as(_shifted, "loss of the shifted tags"), inputs.objects, dtypes=FULL,
                    examples=0.3, no_mutant=implied),
        Requirement(f"{prefix}-9", Level.MUST, Kind.INVARIANCE, "The two corners are alike.", "equations 4 and 5",
                    same_as(_exchanged, "loss with the corners exchanged"), inputs.objects, dtypes=FULL, examples=0.3,
                    no_mutant=implied),
        Requirement(f"{prefix}-10", Level.MUST, Kind.INVARIANCE, "The order of the objects means nothing.",
                    "equations 4 and 5", same_as(_reversed, "loss in reverse"), inputs.objects, dtypes=FULL,
                    examples=0.3, no_mutant=implied),
        Requirement(f"{prefix}-11", Level.MUST, Kind.INVARIANCE, "Padding changes nothing.", "ruling few", padding(
                    0, top_left_tags=7.0, bottom_right_tags=-3.0, object_mask=0), inputs.objects, dtypes=FULL,
                    examples=0.3, no_mutant=implied),
        Requirement(f"{prefix}-12", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, inputs.objects, dtypes=FULL, examples=0.3),
        Requirement(f"{prefix}-13", Level.SHOULD, Kind.ERROR, "Corners of different numbers are refused.", "house rule",
                    refuses(bad_shape("bottom_right_tags")), inputs.objects, dtypes=FULL, examples=0.1),
        bound,
    )  # fmt: skip


def _without_mask(requirement_id: str, inputs: TagInputs) -> Requirement:
    return Requirement(requirement_id, Level.SHOULD, Kind.EMPTY, "Without a mask all rows hold an object.",
                       "house rule", leaving_out("object_mask"), inputs.objects, dtypes=FULL, examples=0.2)  # fmt: skip


_FEW = Ruling("few", "A sum over no object or no pair is 0; rows of padding are not among the N objects.")

PULL_LOSS = Technique(
    id="pull_loss",
    title="Pull loss of associative embedding",
    family="detection",
    summary="Mean squared distance of the tags of an object from their mean.",
    sources=(_PAPER + ", equation 4",),
    oracle=_PULL,
    gradients={"top_left_tags": _PULL_GRAD, "bottom_right_tags": oracle.pull_loss_grad_bottom_right_tags},
    arguments=_ARGUMENTS,
    options=(),
    outputs=(Output("loss", (), "float", "of the image"),),
    summands=_terms(_PULL),
    practical_error=_rounded_tags,
    requirements=(
        *_requirements(
            "PULL", _PULL_INPUTS, "The squared distances from the mean of an object, by the number of objects.",
            bound=Requirement("PULL-14", Level.MUST, Kind.BOUND, "The loss is not negative.", "equation 4",
                              _not_negative, _PULL_INPUTS.objects, dtypes=FULL, examples=0.3,
                              no_mutant=_IMPLIED.format("PULL")),
        ),
        _without_mask("PULL-15", _PULL_INPUTS),
    ),
    mutants=_PULL_MUTANTS,
    rulings=(_FEW,),
    not_applicable={**_NOT_APPLICABLE, Kind.TIES: "no threshold"},
)  # fmt: skip


def _push_interval(argument: str, case: Case) -> tuple[Array, Array]:
    """At a distance of 0 or of the margin a pair contributes anything between its two one-sided derivatives."""
    mask = case.arguments["object_mask"]
    one, other = (case.arguments[name] for name in _TAGS)
    mean, margin = (one + other) / 2.0, option(case, "margin")
    difference = mean[:, None] - mean
    pair = mask[:, None] & mask & ~np.eye(len(mask), dtype=bool)
    inside = pair & (np.abs(difference) < margin)
    edge = pair & (np.abs(difference) == margin)
    number = _pairs(int(mask.sum()))
    exact = np.where(inside, -np.sign(difference), 0.0)
    low = np.where(inside & (difference == 0), -1.0, np.where(edge, np.minimum(-np.sign(difference), 0.0), exact))
    high = np.where(inside & (difference == 0), 1.0, np.where(edge, np.maximum(-np.sign(difference), 0.0), exact))
    upstream = 1.0 if case.cotangent is None else float(case.cotangent)
    ends = upstream * low.sum(axis=1) / number, upstream * high.sum(axis=1) / number
    return np.minimum(*ends), np.maximum(*ends)


_push_requirements = _requirements(
    "PUSH", _PUSH_INPUTS, "What the distance of two means lacks of the margin, the mean over ordered pairs.",
    bound=Requirement("PUSH-14", Level.MUST, Kind.BOUND, "The loss lies in [0, margin].", "equation 5", _within_margin,
                      _PUSH_INPUTS.objects, dtypes=FULL, examples=0.3, no_mutant=_IMPLIED.format("PUSH")),
)  # fmt: skip

PUSH_LOSS = Technique(
    id="push_loss",
    title="Push loss of associative embedding",
    family="detection",
    summary="What the mean tags of two objects lack of a margin between them.",
    sources=(_PAPER + ", equation 5",),
    oracle=_PUSH,
    gradients={"top_left_tags": _PUSH_GRAD, "bottom_right_tags": oracle.push_loss_grad_bottom_right_tags},
    gradient_interval=_push_interval,
    arguments=_ARGUMENTS,
    options=(Option("margin", 1.0, "distance from which on two objects are left alone"),),
    outputs=(Output("loss", (), "float", "of the image"),),
    summands=_terms(_PUSH),
    practical_error=_rounded_tags,
    requirements=(
        *_push_requirements,
        Requirement("PUSH-15", Level.MUST, Kind.TIES, "Means that are equal lack the margin; at the margin nothing.",
                    "equation 5", value, equal_and_at_the_margin, dtypes=FULL, examples=0.3,
                    no_mutant=_IMPLIED.format("PUSH")),
        Requirement("PUSH-16", Level.MUST, Kind.GRADIENT, "At a kink, a gradient between those of its two sides.",
                    "equation 5", gradient("top_left_tags"), equal_and_at_the_margin, needs_gradient=True, dtypes=FULL,
                    examples=0.3, no_mutant="what is wrong beside a kink is wrong at PUSH-2"),
        Requirement("PUSH-17", Level.MAY, Kind.ERROR, "A margin of 0 is refused.", "house rule",
                    refuses(bad_option("margin", 0.0)), _PUSH_INPUTS.objects, dtypes=FULL, examples=0.1),
        _without_mask("PUSH-18", _PUSH_INPUTS),
    ),
    mutants=_PUSH_MUTANTS,
    rulings=(_FEW, Ruling("not-itself", "An object is not pushed from itself.")),
    not_applicable=_NOT_APPLICABLE,
)  # fmt: skip
