"""The pytest door: one test a requirement.

In a test file of yours:

    from steelyard.conformance import conformance_tests

    test_focal = conformance_tests("mylib.losses:focal_loss", technique="sigmoid_focal_loss")

or without a file: `pytest --steelyard=mylib.losses:focal_loss --steelyard-as=sigmoid_focal_loss`.
"""

from __future__ import annotations

import atexit
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from steelyard.conformance.candidates import Candidate
    from steelyard.conformance.contract import OptionValue
    from steelyard.conformance.known_failures import KnownFailure
    from steelyard.conformance.loading import Target
    from steelyard.conformance.results import RequirementResult


class ConformanceFailure(AssertionError):  # noqa: N818 - read in pytest's summary
    """A requirement does not hold."""


def conformance_tests(
    target: str,
    *,
    technique: str | None = None,
    names: Mapping[str, str] | None = None,
    constants: Mapping[str, OptionValue] | None = None,
    profile: str = "default",
    seed: int = 0,
    known: str | Path | None = None,
    cases: str | Path | None = "steelyard-cases",
) -> Callable[..., None]:
    """A pytest test function, parametrised over the requirements.

    Parameters
    ----------
    target : str
        As on the command line.
    technique : str, optional
        The technique that a function implements, or the only one of a module to judge.
    names, constants : mapping, optional
        As ``--map`` and ``--set``.
    profile, seed, known, cases
        As on the command line.

    Returns
    -------
    function
        Assign it to a name that starts with ``test_``.
    """
    from steelyard.conformance.doors import check_profile, make_target  # noqa: PLC0415 - the plugin must stay cheap
    from steelyard.conformance.known_failures import read_known_failures  # noqa: PLC0415

    check_profile(profile)
    made = make_target(target, as_technique=technique, names=names, constants=constants)
    expected = () if known is None else read_known_failures(Path(known))
    wanted = None if technique is None else [technique]

    @pytest.mark.parametrize(("technique_id", "requirement_id"), _parameters(made, wanted))
    def test_conformance(technique_id: str, requirement_id: str) -> None:
        _judge(made, technique_id, requirement_id, profile=profile, seed=seed, known=expected, cases=cases)

    return test_conformance


def pytest_addoption(parser: pytest.Parser) -> None:
    """Options of `pytest --steelyard=TARGET`."""
    group = parser.getgroup("steelyard", "conformance of class-imbalance techniques")
    group.addoption("--steelyard", metavar="TARGET", help="judge this target, one test a requirement")
    group.addoption("--steelyard-as", metavar="TECHNIQUE", help="the technique that a function of TARGET implements")
    group.addoption("--steelyard-profile", default="default", help="quick, default or thorough")
    group.addoption("--steelyard-seed", type=int, default=0, help="same seed, same inputs")
    group.addoption("--steelyard-known", metavar="FILE", help="expected failures (TOML)")


def pytest_collection(session: pytest.Session) -> None:
    """Without a path, `--steelyard` collects the target's tests and nothing else."""
    config = session.config
    if config.getoption("--steelyard") and config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = []


class _Item(pytest.Item):
    """One requirement of the target of `--steelyard`."""

    def __init__(
        self,
        *,
        technique_id: str,
        requirement_id: str,
        target: Target,
        known: Sequence[KnownFailure],
        **keywords: Any,  # noqa: ANN401
    ) -> None:
        super().__init__(**keywords)
        self._known = known
        self._technique_id = technique_id
        self._requirement_id = requirement_id
        self._target = target

    def runtest(self) -> None:
        """Judge the requirement."""
        _judge(
            self._target, self._technique_id, self._requirement_id,
            profile=self.config.getoption("--steelyard-profile"), seed=self.config.getoption("--steelyard-seed"),
            known=self._known, cases="steelyard-cases",
        )  # fmt: skip

    def repr_failure(self, excinfo: pytest.ExceptionInfo[BaseException], style: Any = None) -> Any:  # noqa: ANN401
        """The report alone; a traceback of ours would say nothing."""
        if excinfo.errisinstance(ConformanceFailure):
            return str(excinfo.value)
        return super().repr_failure(excinfo, style)

    def reportinfo(self) -> tuple[str, None, str]:
        """Where the test is: not at a line of a file, but of a target."""
        return self._target.text, None, self.name


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(session: pytest.Session, config: pytest.Config, items: list[pytest.Item]) -> Any:  # noqa: ANN401
    """Add the requirements of the target of `--steelyard`."""
    text = config.getoption("--steelyard")
    if text:
        from steelyard.conformance.candidates import LoadError  # noqa: PLC0415
        from steelyard.conformance.doors import UsageError, check_profile, make_target  # noqa: PLC0415
        from steelyard.conformance.known_failures import KnownFailuresError, read_known_failures  # noqa: PLC0415
        from steelyard.conformance.registry import UnknownTechniqueError  # noqa: PLC0415

        try:
            check_profile(config.getoption("--steelyard-profile"))
            file = config.getoption("--steelyard-known")
            known = () if file is None else read_known_failures(Path(file))
            target = make_target(text, as_technique=config.getoption("--steelyard-as"))
            added: list[pytest.Item | pytest.Collector] = []
            for technique_id, requirement_id in _parameters(target, None):
                name = f"{technique_id}[{requirement_id}]"
                item = _Item.from_parent(
                    session, name=name, nodeid=f"{text}::{name}", technique_id=technique_id,
                    requirement_id=requirement_id, target=target, known=known,
                )  # fmt: skip
                added.append(item)
                items.append(item)
            # so that the terminal counts them
            config.hook.pytest_collectreport(report=pytest.CollectReport(text, "passed", None, added))
        except (LoadError, UnknownTechniqueError, UsageError, KnownFailuresError) as error:
            raise pytest.UsageError(str(error)) from error
    return (yield)


def _parameters(target: Target, wanted: Sequence[str] | None) -> list[tuple[str, str]]:
    from steelyard.conformance.registry import TECHNIQUES  # noqa: PLC0415

    ids: Iterable[str] = wanted or _shared(target).description.functions
    return [(i, requirement.id) for i in ids for requirement in TECHNIQUES[i].requirements]


def _judge(
    target: Target,
    technique_id: str,
    requirement_id: str,
    *,
    profile: str,
    seed: int,
    known: Sequence[KnownFailure],
    cases: str | Path | None,
) -> None:
    from steelyard.conformance.registry import TECHNIQUES  # noqa: PLC0415
    from steelyard.conformance.reporting import failure_report  # noqa: PLC0415
    from steelyard.conformance.running import Listener, Plan, run  # noqa: PLC0415

    plan = Plan(
        techniques=(technique_id,), profile=profile, seed=seed, known=tuple(known),
        cases=None if cases is None else Path(cases), requirements=frozenset({requirement_id}),
    )  # fmt: skip
    judged = run(_shared(target), target, plan, Listener()).techniques[0]
    if not judged.requirements:
        pytest.skip(f"{target.text} does not implement {technique_id}")
    found: RequirementResult = judged.requirements[0]
    if found.status == "skip":
        pytest.skip(found.message)
    if found.status == "known":
        pytest.xfail(found.reason)
    if found.status in ("fail", "error", "fixed"):
        report = failure_report(TECHNIQUES[technique_id], found)
        if found.level != "MUST" and found.status != "fixed":
            pytest.xfail(f"not binding ({found.level}): {report}")
        raise ConformanceFailure(report)


_candidates: dict[str, Candidate] = {}


def _shared(target: Target) -> Candidate:
    """One process for all tests of a target; it ends with the session."""
    from steelyard.conformance.doors import load  # noqa: PLC0415

    key = repr(target)
    if key not in _candidates:
        _candidates[key] = load(target)
        atexit.register(_candidates[key].close)
    return _candidates[key]
