"""Requirements that every harmonized loss has, whatever its elements: of unit regions, and of exact windows."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from steelyard.conformance.checking import (
    BadInput,
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
from steelyard.conformance.contract import Case, Generator, Kind, Level, Requirement
from steelyard.conformance.soft_sampling.focal_inputs import FULL, HALF
from steelyard.conformance.soft_sampling.ghm_inputs import reversed_elements, twice
from steelyard.conformance.soft_sampling.ghm_laws import (
    IMPLIED,
    Read,
    a_region_twice,
    average_forgets_its_start,
    between_the_element_losses,
    longest_window_is_the_mean,
    one_region_is_the_mean,
    regions_have_equal_say,
    windows_bound_the_loss,
)

Scene = Callable[[int], Case]


@dataclass(frozen=True)
class Inputs:
    """Where a harmonized loss's cases come from."""

    argument: str
    """What the gradient is taken of."""
    read: Read
    ordinary: Generator
    """Norms clear of every edge."""
    extreme: Generator
    ties: Generator
    """Norms on edges."""
    empty: Generator
    not_finite: Generator
    """An example that is NaN or infinite."""
    not_valid_not_finite: Generator
    nan_beside_examples: Generator
    """An example that is NaN, sometimes one that is infinite, and finite ones."""
    unreduced: Generator
    other: Generator
    """Other numbers of regions, or other windows."""
    scenes: tuple[Scene, ...]
    half_scenes: tuple[Scene, ...]
    """An outlier whose weighted loss is beyond float16."""
    padding: Mapping[str, float]
    second: str
    """The argument that has to fit the first one."""
    element: str
    """The element's loss, in words."""
    source: str
    misfits: tuple[BadInput, ...] = ()
    """What else is refused like a second argument that does not fit."""
    averaged: Generator | None = None
    unaveraged: Generator | None = None
    averaged_scenes: tuple[Scene, ...] = ()
    half_crowds: tuple[Scene, ...] = ()
    """An outlier whose weight is beyond float16."""
    reaches: Mapping[str, Callable[[Case], bool]] = field(default_factory=dict)
    extreme_reaches: Mapping[str, Callable[[Case], bool]] = field(default_factory=dict)
    tie_level: Level = Level.MUST
    tie_dtypes: tuple[str, ...] = FULL
    tie_options: tuple[str, ...] = ()
    tie_text: str = ""


def region_requirements(prefix: str, inputs: Inputs) -> tuple[Requirement, ...]:
    """Of a loss with unit regions."""
    averaged, unaveraged = inputs.averaged or inputs.ordinary, inputs.unaveraged or inputs.ordinary
    by_gradient = gradient(inputs.argument)

    def at(number: int) -> str:
        return f"{prefix}-{number}"

    def momentum_zero(draw: object) -> Case:
        return averaged(draw).with_options(momentum=0.0)  # type: ignore[arg-type]

    return (
        Requirement(at(1), Level.MUST, Kind.VALUE,
                    f"The loss is the mean over examples of weight times {inputs.element}, the weight that of the "
                    "example's region; the moving average is given back.", inputs.source, value, inputs.ordinary,
                    scenes=(*inputs.scenes, *inputs.averaged_scenes), reaches=inputs.reaches, dtypes=FULL),
        Requirement(at(2), Level.MUST, Kind.GRADIENT,
                    "The gradient is weight times the element's own, by N: the weight is a constant.",
                    "ruling constant-weights", by_gradient, unaveraged, scenes=inputs.scenes, needs_gradient=True,
                    dtypes=FULL),
        Requirement(at(3), Level.MUST, Kind.DETACHED,
                    "With a moving average too the weight is a constant, and the one of the value.",
                    "ruling constant-weights", by_gradient, averaged, needs_gradient=True, options=("momentum",),
                    dtypes=FULL, examples=0.5),
        Requirement(at(4), Level.MUST, Kind.VALUE, "It counts in as many regions as are asked for.", "equation 9",
                    value, inputs.other, options=("bins",), dtypes=FULL, examples=0.5,
                    no_mutant=f"{at(16)} asks for one region, which sees as much"),
        Requirement(at(5), Level.MUST, Kind.VALUE, "Without reduction it returns the terms whose sum is the loss.",
                    "ruling terms", value, inputs.unreduced, options=("reduction",), dtypes=FULL, examples=0.3),
        Requirement(at(6), inputs.tie_level, Kind.TIES, inputs.tie_text, "ruling edges", value, inputs.ties,
                    options=inputs.tie_options, dtypes=inputs.tie_dtypes, examples=0.5),
        Requirement(at(7), Level.MUST, Kind.EXTREME, "The value follows the formula for inputs up to 10^4.",
                    inputs.source, value, inputs.extreme, reaches=inputs.extreme_reaches, dtypes=FULL, examples=0.5),
        Requirement(at(8), Level.MUST, Kind.EXTREME, "The gradient follows its formula for inputs up to 10^4.",
                    inputs.source, by_gradient, inputs.extreme, reaches=inputs.extreme_reaches, needs_gradient=True,
                    dtypes=FULL, examples=0.5),
        Requirement(at(9), Level.SHOULD, Kind.EXTREME,
                    "Half-precision inputs give the value computed in float32, with an outlier too.",
                    "ruling half-precision", value, inputs.ordinary, scenes=inputs.half_scenes, dtypes=HALF,
                    examples=0.5),
        Requirement(at(10), Level.SHOULD, Kind.EXTREME,
                    "Half-precision inputs give the gradient computed in float32, with an outlier too.",
                    "ruling half-precision", by_gradient, unaveraged, scenes=inputs.half_crowds, needs_gradient=True,
                    dtypes=HALF, examples=0.5),
        Requirement(at(11), Level.MUST, Kind.EMPTY,
                    "Without an example the loss is 0, and the average stays or decays.", "ruling no-example", value,
                    inputs.empty, dtypes=FULL, examples=0.3),
        Requirement(at(12), Level.MUST, Kind.EMPTY, "Without an example the gradient is 0.", "ruling no-example",
                    by_gradient, inputs.empty, needs_gradient=True, dtypes=FULL, examples=0.3),
        Requirement(at(13), Level.SHOULD, Kind.EXTREME, "NaN or infinite inputs that are not valid count nothing.",
                    "ruling not-valid", value, inputs.not_valid_not_finite, dtypes=FULL, examples=0.3),
        Requirement(at(14), Level.MAY, Kind.EXTREME,
                    "NaN is not counted and makes the loss NaN; an infinite input gives the limit.",
                    "ruling not-a-number", value, inputs.not_finite, dtypes=FULL, examples=0.3),
        Requirement(at(15), Level.MAY, Kind.TIES, "With momentum 0 the average is this call's counts.", "equation 12",
                    value, momentum_zero, options=("momentum",), dtypes=FULL, examples=0.3),
        Requirement(at(16), Level.MUST, Kind.REDUCES_TO, f"With one region it is the mean of {inputs.element}.",
                    "equation 10", one_region_is_the_mean(inputs.read), unaveraged, options=("bins",), dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format(at(4))),
        Requirement(at(17), Level.MUST, Kind.CONSERVATION,
                    "Every region has the same say: its absolute gradients sum to its mean gradient norm by the "
                    "number of regions, however many examples it holds.", "section on GHM-C",
                    regions_have_equal_say(inputs.read, inputs.argument), unaveraged, needs_gradient=True,
                    dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format(at(2))),
        Requirement(at(18), Level.MUST, Kind.LIMIT,
                    "Of equal calls the average tends to their counts: (1 - momentum^t) R after t of them.",
                    "equation 12", average_forgets_its_start, averaged, options=("momentum",), dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format(at(1))),
        Requirement(at(19), Level.MUST, Kind.BOUND,
                    f"The loss is not above the largest {inputs.element} of an example, and not below the smallest "
                    "(by M: not below 0).", "equation 8", between_the_element_losses(inputs.read), unaveraged,
                    dtypes=FULL, examples=0.3, no_mutant=IMPLIED.format(at(1))),
        Requirement(at(20), Level.MUST, Kind.INVARIANCE, "Every element twice: the same loss.", "equation 8",
                    same_as(twice, "value of every element twice"), unaveraged, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format(at(1))),
        Requirement(at(21), Level.MUST, Kind.INVARIANCE, "The order of the elements does not matter.", "equation 8",
                    same_as(reversed_elements, "value of the elements in reverse"), inputs.ordinary, dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format(at(1))),
        Requirement(at(22), Level.MUST, Kind.BATCH, "Padding that is not valid changes nothing.",
                    "rulings one-histogram and not-valid", padding(0, **inputs.padding), inputs.ordinary, dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format(at(1))),
        Requirement(at(23), Level.MUST, Kind.PURITY,
                    "The inputs, the state too, are not written to, and equal calls give equal bits.", "house rule",
                    purity, inputs.ordinary, dtypes=FULL, examples=0.3),
        Requirement(at(24), Level.SHOULD, Kind.ERROR, f"{inputs.second.capitalize()} that do not fit are refused.",
                    "house rule", refuses(bad_shape(inputs.second), *inputs.misfits), inputs.ordinary, dtypes=FULL,
                    examples=0.2),
        Requirement(at(25), Level.MAY, Kind.ERROR, "Options out of range are refused.", "house rule",
                    refuses(bad_option("bins", 0), bad_option("norm", "n"), bad_option("momentum", 1.0),
                            bad_option("ema", "slow"), bad_option("reduction", "mean")), averaged, dtypes=FULL,
                    examples=0.2),
    )  # fmt: skip


def further_region_requirements(
    prefix: str, first: int, inputs: Inputs, *left_out: str, no_mutant: str = ""
) -> tuple[Requirement, ...]:
    """Of the gradient in other regions and of what is not finite, and of a call that leaves these arguments out."""
    by_gradient = gradient(inputs.argument)
    meaning = {"valid": "Without a mask all are examples", "state": "without a state the average starts from zeros"}
    text = "; ".join(meaning[name] for name in left_out)

    def unaveraged(generator: Generator) -> Generator:
        return lambda draw: generator(draw).with_options(momentum=None)

    return (
        Requirement(f"{prefix}-{first}", Level.MUST, Kind.GRADIENT,
                    "The gradient counts in as many regions as are asked for too.", "equation 9", by_gradient,
                    unaveraged(inputs.other), options=("bins",), needs_gradient=True, dtypes=FULL, examples=0.5,
                    no_mutant=no_mutant),
        Requirement(f"{prefix}-{first + 1}", Level.MAY, Kind.EXTREME,
                    "The gradient of NaN is NaN, and it is not counted; an infinite input gives the limit.",
                    "ruling not-a-number", by_gradient, inputs.nan_beside_examples, needs_gradient=True, dtypes=FULL,
                    examples=0.5),
        Requirement(f"{prefix}-{first + 2}", Level.SHOULD, Kind.EMPTY, f"{text[0].upper()}{text[1:]}.", "house rule",
                    leaving_out(*left_out), inputs.averaged or inputs.ordinary, dtypes=FULL, examples=0.2),
    )  # fmt: skip


def region_twice(requirement_id: str, first: str, inputs: Inputs) -> Requirement:
    """Where single elements can be masked."""
    return Requirement(
        requirement_id, Level.MUST, Kind.INVARIANCE, "The examples of one region twice: the same loss.", "equation 8",
        a_region_twice(inputs.read), inputs.unaveraged or inputs.ordinary, dtypes=FULL, examples=0.3,
        no_mutant=IMPLIED.format(first),
    )  # fmt: skip


def window_requirements(prefix: str, inputs: Inputs) -> tuple[Requirement, ...]:
    """Of a loss with the exact density."""
    by_gradient = gradient(inputs.argument)

    def at(number: int) -> str:
        return f"{prefix}-{number}"

    return (
        Requirement(at(1), Level.MUST, Kind.VALUE,
                    f"The loss is the sum over examples of {inputs.element} by the density at the example.",
                    inputs.source, value, inputs.ordinary, scenes=inputs.scenes, reaches=inputs.reaches, dtypes=FULL),
        Requirement(at(2), Level.MUST, Kind.GRADIENT,
                    "The gradient is the element's own by the density, the window's length being a constant too.",
                    "ruling constant-weights", by_gradient, inputs.ordinary, scenes=inputs.scenes,
                    needs_gradient=True, dtypes=FULL),
        Requirement(at(3), Level.MUST, Kind.VALUE, "The window is as long as is asked for.", "equation 5", value,
                    inputs.other, options=("epsilon",), dtypes=FULL, examples=0.5,
                    no_mutant=f"{at(6)} asks for another length too"),
        Requirement(at(4), Level.MUST, Kind.VALUE, "Without reduction it returns the terms whose sum is the loss.",
                    "ruling terms", value, inputs.unreduced, options=("reduction",), dtypes=FULL, examples=0.3),
        Requirement(at(5), Level.MUST, Kind.REDUCES_TO,
                    f"With a window that holds all norms it is the mean of {inputs.element}.", "equation 6",
                    longest_window_is_the_mean(inputs.read), inputs.ordinary, options=("epsilon",), dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format(at(3))),
        Requirement(at(6), inputs.tie_level, Kind.TIES, inputs.tie_text, "equation 5", value, inputs.ties,
                    options=inputs.tie_options, dtypes=inputs.tie_dtypes, examples=0.5),
        Requirement(at(7), Level.MUST, Kind.EXTREME, "The value follows the formula for inputs up to 10^4.",
                    inputs.source, value, inputs.extreme, reaches=inputs.extreme_reaches, dtypes=FULL, examples=0.5),
        Requirement(at(8), Level.MUST, Kind.EXTREME, "The gradient follows its formula for inputs up to 10^4.",
                    inputs.source, by_gradient, inputs.extreme, reaches=inputs.extreme_reaches, needs_gradient=True,
                    dtypes=FULL, examples=0.5),
        Requirement(at(9), Level.SHOULD, Kind.EXTREME,
                    "Half-precision inputs give the value computed in float32, with an outlier too.",
                    "ruling half-precision", value, inputs.ordinary, scenes=inputs.half_scenes, dtypes=HALF,
                    examples=0.5),
        Requirement(at(10), Level.MUST, Kind.EMPTY, "Without an example the loss is 0.", "ruling no-example", value,
                    inputs.empty, dtypes=FULL, examples=0.3),
        Requirement(at(11), Level.MUST, Kind.EMPTY, "Without an example the gradient is 0.", "ruling no-example",
                    by_gradient, inputs.empty, needs_gradient=True, dtypes=FULL, examples=0.3),
        Requirement(at(12), Level.SHOULD, Kind.EXTREME, "NaN or infinite inputs that are not valid count nothing.",
                    "ruling not-valid", value, inputs.not_valid_not_finite, dtypes=FULL, examples=0.3),
        Requirement(at(13), Level.MAY, Kind.EXTREME,
                    "NaN is not counted and makes the loss NaN; an infinite input gives the limit.",
                    "ruling not-a-number", value, inputs.not_finite, dtypes=FULL, examples=0.3),
        Requirement(at(14), Level.MUST, Kind.BOUND, "An example has from 1 to N neighbours.", "equation 5",
                    windows_bound_the_loss(inputs.read), inputs.ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format(at(1))),
        Requirement(at(15), Level.MUST, Kind.INVARIANCE, "Every element twice: the same loss.", "equation 7",
                    same_as(twice, "value of every element twice"), inputs.ordinary, dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format(at(1))),
        Requirement(at(16), Level.MUST, Kind.INVARIANCE, "The order of the elements does not matter.", "equation 7",
                    same_as(reversed_elements, "value of the elements in reverse"), inputs.ordinary, dtypes=FULL,
                    examples=0.3, no_mutant=IMPLIED.format(at(1))),
        Requirement(at(17), Level.MUST, Kind.BATCH, "Padding that is not valid changes nothing.", "ruling not-valid",
                    padding(0, **inputs.padding), inputs.ordinary, dtypes=FULL, examples=0.3,
                    no_mutant=IMPLIED.format(at(1))),
        Requirement(at(18), Level.MUST, Kind.PURITY,
                    "The inputs are not written to, and equal calls give equal bits.", "house rule", purity,
                    inputs.ordinary, dtypes=FULL, examples=0.3),
        Requirement(at(19), Level.SHOULD, Kind.ERROR, f"{inputs.second.capitalize()} that do not fit are refused.",
                    "house rule", refuses(bad_shape(inputs.second), *inputs.misfits), inputs.ordinary, dtypes=FULL,
                    examples=0.2),
        Requirement(at(20), Level.MAY, Kind.ERROR, "Options out of range are refused.", "house rule",
                    refuses(bad_option("epsilon", 0.0), bad_option("epsilon", 2.5), bad_option("reduction", "mean")),
                    inputs.ordinary, dtypes=FULL, examples=0.2),
    )  # fmt: skip


def further_window_requirements(prefix: str, first: int, inputs: Inputs) -> tuple[Requirement, ...]:
    """Of the gradient in other windows and of what is not finite, and of a call without a mask."""
    by_gradient = gradient(inputs.argument)
    return (
        Requirement(f"{prefix}-{first}", Level.MUST, Kind.GRADIENT,
                    "The gradient's window too is as long as is asked for.", "equation 5", by_gradient, inputs.other,
                    options=("epsilon",), needs_gradient=True, dtypes=FULL, examples=0.5),
        Requirement(f"{prefix}-{first + 1}", Level.MAY, Kind.EXTREME,
                    "The gradient of NaN is NaN, and it is not counted; an infinite input gives the limit.",
                    "ruling not-a-number", by_gradient, inputs.nan_beside_examples, needs_gradient=True, dtypes=FULL,
                    examples=0.5),
        Requirement(f"{prefix}-{first + 2}", Level.SHOULD, Kind.EMPTY, "Without a mask all are examples.",
                    "house rule", leaving_out("valid"), inputs.ordinary, dtypes=FULL, examples=0.2),
    )  # fmt: skip
