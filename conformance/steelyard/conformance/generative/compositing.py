"""Contract of compositing: an object moved by an affine map and blended into a background.

Tripathi et al., "Learning to Generate Synthetic Data via Compositing", CVPR 2019, section 3.
"""

from __future__ import annotations

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
    Output,
    Requirement,
    Ruling,
    Technique,
)
from steelyard.conformance.generation import Draw
from steelyard.conformance.generative.compositing_mutants import MUTANTS
from steelyard.conformance.precision import round_to
from steelyard.reference.generative import compositing as oracle

PAPER = "Tripathi et al., Learning to Generate Synthetic Data via Compositing, CVPR 2019, section 3"
_FULL = ("float32", "float64")
_ROUNDOFFS = 32.0  # of a place, in pixels, its two weights, and the blend

# --- inputs ---------------------------------------------------------------------------------------------------


def objects(draw: Draw) -> Case:
    """One or two objects of up to 3 x 3 pixels on up to 4 x 4; opacities in eighths, maps in quarters.

    So opacities as read are multiples of 1/128, to which no threshold comes near: no rounding moves a box.
    """
    batch, channels, dtype = draw.integer(1, 2), draw.integer(1, 2), draw.dtype()
    (h, w), (rows, columns) = draw.shape(2, high=3), draw.shape(2, high=4)
    maps = draw.array((batch, 2, 3), lambda: (draw.integer(0, 8) - 4) / 4.0)
    maps[:, 0, 0] += 1.0
    maps[:, 1, 1] += 1.0
    arguments = {
        "foreground": round_to(dtype, draw.array((batch, channels, h, w), lambda: 4.0 * draw.fraction())),
        "alpha": draw.integers((batch, h, w), 0, 8) / 8.0,
        "background": round_to(dtype, draw.array((batch, channels, rows, columns), lambda: 4.0 * draw.fraction())),
        "theta": maps,
    }
    return Case(arguments, {"threshold": draw.choice((0.1, 0.3, 0.55))}, dtype)


def out_of_sight(draw: Draw) -> Case:
    """Objects far beside the background, without opacity, or none at all; a threshold of 0 is not above itself."""
    case = objects(draw)
    case = case.with_options(threshold=draw.choice((0.0, case.options["threshold"])))
    which = draw.choice(("beside", "clear", "none"))
    if which == "none":
        return case.with_arguments(**{name: values[:0] for name, values in case.arguments.items()})
    if which == "clear":
        return case.with_arguments(alpha=np.zeros_like(case.arguments["alpha"]))
    return case.with_arguments(theta=case.arguments["theta"] + np.array([0.0, 0.0, 32.0]))


def photographs(seed: int) -> Case:
    """Four round objects of 24 x 24 in three colours on backgrounds of 40 x 48."""
    random = np.random.default_rng(seed)
    y, x = np.mgrid[:24, :24] - 11.5
    soft = np.clip(np.rint(8.0 * (12.0 - np.hypot(x, y)) / 3.0) / 8.0, 0.0, 1.0)
    maps = np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]) + random.integers(-2, 3, (4, 2, 3)) / 8.0
    maps[:, :, 2] -= random.integers(0, 12, (4, 2))
    arguments = {
        "foreground": random.integers(0, 256, (4, 3, 24, 24)).astype(float),
        "alpha": np.broadcast_to(soft, (4, 24, 24)).copy(),
        "background": random.integers(0, 256, (4, 3, 40, 48)).astype(float), "theta": maps,
    }  # fmt: skip
    return Case(arguments, {"threshold": 0.1001}, "float32", origin=f"scene {seed}")


# --- laws -----------------------------------------------------------------------------------------------------


def _largest(case: Case) -> float:
    colours = (np.abs(case.arguments[name]).max(initial=0.0) for name in ("foreground", "background"))
    return float(max(colours))


def practical_error(case: Case, u: float) -> Array:
    """A place is rounded to the object's size, which moves the weights of its pixels by as much."""
    size = sum(case.arguments["foreground"].shape[2:]) + sum(case.arguments["background"].shape[2:])
    return np.full(case.arguments["background"].shape, _ROUNDOFFS * u * size * _largest(case))


def practical_gradient_error(case: Case, u: float) -> Array:
    """The same for each pixel of the background that reads a pixel of the object."""
    shape = case.arguments["foreground"].shape
    pixels = np.prod(case.arguments["background"].shape[1:])
    size = sum(shape[2:]) + sum(case.arguments["background"].shape[2:])
    return np.full((), _ROUNDOFFS * u * size * pixels * max(_largest(case), 1.0))


def _halved(case: Case) -> Case:
    """Both images at half their brightness."""
    return case.with_arguments(
        foreground=case.arguments["foreground"] / 2.0, background=case.arguments["background"] / 2.0
    )


def _doubled(output: Array, case: Case) -> Array:
    return output * 2.0 if output.ndim == case.arguments["background"].ndim else output


def between_the_colours(bench: Bench, case: Case) -> None:
    """No colour above the brightest of both images, none below the darkest and the 0 around the object."""
    image = np.asarray(bench.evaluate(case).outputs[0], dtype=np.float64)
    bounds = bench.bounds(case, case.dtype)
    room = 0.0 if bounds is None or not image.size else float(bounds.loose.max())
    inside = (image <= _largest(case) + room).all() and (image >= -room).all()
    bench.expect(bool(inside), f"colours from {image.min(initial=0)} to {image.max(initial=0)}", case)


# --- contract -------------------------------------------------------------------------------------------------

COMPOSITE = Technique(
    id="composite",
    title="Compositing of an object and a background",
    family="generative",
    summary="An object moved by an affine map, blended into a background by its opacity, and its box.",
    sources=(PAPER,),
    oracle=oracle.composite,
    gradients={
        "foreground": oracle.composite_grad_foreground,
        "alpha": oracle.composite_grad_alpha,
        "background": oracle.composite_grad_background,
    },
    arguments=(
        Argument("foreground", ("B", "C", "h", "w"), "float", "colours of the object", differentiable=True),
        Argument("alpha", ("B", "h", "w"), "float", "its opacity, in [0, 1]", differentiable=True,
                 domain=lambda values, _: np.clip(values, 0.0, 1.0)),
        Argument("background", ("B", "C", "H", "W"), "float", "colours", differentiable=True),
        Argument("theta", ("B", "2", "3"), "float", "from places in the background to places in the object, in pixels"),
    ),
    options=(Option("threshold", 0.0, "the box goes around opacities above"),),
    outputs=(
        Output("composite", ("B", "C", "H", "W"), "float", "the blend"),
        Output("box", ("B", "4"), "int", "x1, y1, x2, y2 of what is seen of the object; x2 and y2 lie outside"),
    ),
    practical_error=practical_error,
    practical_gradient_error=practical_gradient_error,
    requirements=(
        Requirement("COMP-1", Level.MUST, Kind.VALUE,
                    "The object's colour by its opacity, the rest background; the box around what is seen.",
                    "section 3.1", value, objects, scenes=(photographs,),
                    reaches={"an object that is not seen": lambda c: not oracle.composite(
                                 **c.arguments, **c.options)[1].any(axis=-1).all(),  # type: ignore[arg-type]
                             "several objects": lambda c: len(c.arguments["theta"]) > 1}),
        Requirement("COMP-2", Level.MUST, Kind.GRADIENT, "The gradient by the background is what shows of it.",
                    "derivative of the blend", gradient("background"), objects, needs_gradient=True, dtypes=_FULL,
                    examples=0.3, no_mutant="a mutant has one gradient, by the object"),
        Requirement("COMP-3", Level.MUST, Kind.GRADIENT,
                    "The gradient by the object's colours is the opacity of what reads them.",
                    "derivative of the blend", gradient("foreground"), objects, needs_gradient=True, dtypes=_FULL,
                    examples=0.3),
        Requirement("COMP-4", Level.MUST, Kind.GRADIENT,
                    "The gradient by the opacity is the object's colour less the background's.",
                    "derivative of the blend", gradient("alpha"), objects, needs_gradient=True, dtypes=_FULL,
                    examples=0.3, no_mutant="a mutant has one gradient, by the object's colours"),
        Requirement("COMP-5", Level.MUST, Kind.EMPTY, "Of what is not seen there is no box, and no trace.",
                    "ruling nothing-seen", value, out_of_sight, examples=0.4,
                    reaches={"a threshold of 0": lambda c: c.options["threshold"] == 0.0}),
        Requirement("COMP-6", Level.MUST, Kind.BOUND, "Colours stay within those of the images and 0.", "section 3.1",
                    between_the_colours, objects, dtypes=_FULL, examples=0.3, no_mutant="implied by COMP-1"),
        Requirement("COMP-7", Level.MUST, Kind.INVARIANCE, "Half of all colours give half of the composite.",
                    "linear in the colours", same_as(_halved, "composite of halved colours, doubled", _doubled),
                    objects, dtypes=_FULL, examples=0.3, no_mutant="implied by COMP-1; names the law"),
        Requirement("COMP-8", Level.MUST, Kind.BATCH, "Composites do not see each other.", "house rule",
                    batch_equals_per_image, objects, dtypes=_FULL, examples=0.2,
                    no_mutant="implied by COMP-1; names the law"),
        Requirement("COMP-9", Level.MUST, Kind.PURITY, "The inputs are not written to, and equal calls agree.",
                    "house rule", purity, objects, dtypes=_FULL, examples=0.2),
        Requirement("COMP-10", Level.SHOULD, Kind.ERROR, "Opacities of another number of objects are refused.",
                    "house rule", refuses(bad_shape("alpha")), objects, dtypes=_FULL, examples=0.1),
        Requirement("COMP-11", Level.MAY, Kind.ERROR, "A threshold above 1 is refused.", "house rule",
                    refuses(bad_option("threshold", 1.5)), objects, dtypes=_FULL, examples=0.1),
    ),
    mutants=MUTANTS,
    rulings=(
        Ruling("places", "Maps lead from the background to the object, in pixels whose middles are at halves."),
        Ruling("outside", "Outside of the object opacity and colour are 0: its rim fades over half a pixel."),
        Ruling("straight", "Colours are straight, not premultiplied: opacity counts once."),
        Ruling("nothing-seen", "Where nothing is seen the box is four zeros; whether to keep it is the user's."),
    ),
    not_applicable={
        Kind.DETACHED: "no constant factor", Kind.REDUCES_TO: "COMP-5 has the plain background",
        Kind.LIMIT: "no limit", Kind.CONSERVATION: "conserves nothing", Kind.TIES: "thresholds keep off the opacities",
        Kind.EXTREME: "weights in [0, 1]", Kind.DISTRIBUTION: "not random",
    },
)  # fmt: skip
