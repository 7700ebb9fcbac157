"""The function call: `check(target)` gives a verdict as plain data. The command line and pytest go through here."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from steelyard.conformance.candidates import Candidate
from steelyard.conformance.contract import OptionValue
from steelyard.conformance.host import Host
from steelyard.conformance.isolation import IsolatedCandidate, Limits
from steelyard.conformance.known_failures import KnownFailure, read_known_failures
from steelyard.conformance.loading import Target
from steelyard.conformance.precision import PRECISIONS
from steelyard.conformance.profiles import PROFILES
from steelyard.conformance.programs import Program, is_program
from steelyard.conformance.registry import TECHNIQUES, closest, technique
from steelyard.conformance.results import Result
from steelyard.conformance.running import Listener, Plan, run


class UsageError(ValueError):
    """An argument of the suite itself is wrong."""


def make_target(
    text: str,
    *,
    as_technique: str | None = None,
    names: Mapping[str, str] | None = None,
    constants: Mapping[str, OptionValue] | None = None,
) -> Target:
    """A target from its parts; refuses an unknown technique."""
    if as_technique is not None:
        technique(as_technique)
    return Target(text, as_technique, dict(names or {}), dict(constants or {}))


def check_profile(profile: str) -> None:
    """Refuse a profile that does not exist."""
    if profile not in PROFILES:
        raise UsageError(
            f"profile: expected one of {', '.join(PROFILES)}, got {profile!r}{closest(profile, list(PROFILES))}"
        )


def load(target: Target, *, device: str = "cpu", limits: Limits | None = None, isolated: bool = True) -> Candidate:
    """A loaded candidate, which whoever asked for it has to close."""
    if is_program(target.text):
        return Program(target, device=device, limits=limits)
    if isolated:
        return IsolatedCandidate(target, device=device, limits=limits)
    return Host(target, device=device)


@contextmanager
def candidate(
    target: Target, *, device: str = "cpu", limits: Limits | None = None, isolated: bool = True
) -> Iterator[Candidate]:
    """A loaded candidate, in a process of its own unless `isolated` is False."""
    loaded = load(target, device=device, limits=limits, isolated=isolated)
    try:
        yield loaded
    finally:
        loaded.close()


def check(  # noqa: PLR0913 - each is a flag of the command line
    target: str | Target,
    *,
    techniques: Sequence[str] | None = None,
    profile: str = "default",
    seed: int = 0,
    device: str = "cpu",
    dtypes: Sequence[str] | None = None,
    known: str | Path | Sequence[KnownFailure] = (),
    cases: str | Path | None = None,
    limits: Limits | None = None,
    isolated: bool = True,
    requirements: Sequence[str] | None = None,
    listener: Listener | None = None,
    resume: Result | None = None,
) -> Result:
    """Judge an implementation.

    Parameters
    ----------
    target : str or Target
        A module (``"steelyard.impl"``), a Python file, ``"package.module:function"``, a bundled adapter's name,
        or ``"exec:COMMAND"``, a program that speaks JSON lines.
    techniques : sequence of str, optional
        Technique ids; by default all that the target implements.
    profile : {"quick", "default", "thorough"}
        How many inputs each requirement gets.
    seed : int
        Same seed, same inputs, same verdict, on any machine.
    device : str
        Where tensors live: ``"cpu"`` or ``"cuda"``.
    dtypes : sequence of str, optional
        Only these of float32, float64, float16, bfloat16.
    known : path or sequence of KnownFailure
        Expected failures.
    cases : path, optional
        Directory for case files, one a failure.
    limits : Limits, optional
        Time, memory and output that the candidate may use.
    isolated : bool
        False judges in this process: for debugging with breakpoints.
    requirements : sequence of str, optional
        Only these requirement ids; such a run is not measured against the floor.
    listener : Listener, optional
        Hears each result as it is found.
    resume : Result, optional
        An interrupted run of the same target: the techniques that it judged to the end are not judged again.

    Returns
    -------
    Result

    Raises
    ------
    UsageError, UnknownTechniqueError, KnownFailuresError, ResumeError
        An argument is wrong, or `resume` is another run.
    LoadError
        The target cannot be loaded.
    """
    check_profile(profile)
    for dtype in dtypes or ():
        if dtype not in PRECISIONS:
            raise UsageError(f"dtype: expected one of {', '.join(PRECISIONS)}, got {dtype!r}")
    for technique_id in techniques or ():
        technique(technique_id)
    offered = [r.id for technique_id in techniques or TECHNIQUES for r in technique(technique_id).requirements]
    for requirement_id in requirements or ():
        if requirement_id not in offered:
            hint = closest(requirement_id, offered)
            raise UsageError(f"requirement: expected an id of `steelyard show TECHNIQUE`, got {requirement_id!r}{hint}")
    expected = read_known_failures(Path(known)) if isinstance(known, str | Path) else tuple(known)
    plan = Plan(
        techniques=None if techniques is None else tuple(techniques),
        profile=profile,
        seed=seed,
        device=device,
        dtypes=None if dtypes is None else tuple(dtypes),
        known=expected,
        cases=None if cases is None else Path(cases),
        requirements=None if requirements is None else frozenset(requirements),
    )
    made = make_target(target) if isinstance(target, str) else target
    with candidate(made, device=device, limits=limits, isolated=isolated) as loaded:
        return run(loaded, made, plan, listener or Listener(), resume)
