"""What the tests of real libraries share: a library is loaded once, for that takes longer than to judge it."""

import importlib.util
import os
import signal
from collections.abc import Collection, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pytest

from steelyard.conformance.cases import FailingCase, read_case
from steelyard.conformance.contract import Case
from steelyard.conformance.doors import candidate
from steelyard.conformance.isolation import IsolatedCandidate
from steelyard.conformance.loading import Target
from steelyard.conformance.results import RequirementResult, TechniqueResult
from steelyard.conformance.running import Listener, Plan, run

_SHIMS = Path(__file__).parent / "shims"

# a shell's background job ignores Ctrl-C, and so would every process that a test starts in order to interrupt it
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@dataclass(frozen=True)
class Judged:
    """What was found in one technique of a library; every deviation that binds is known to its adapter."""

    result: TechniqueResult
    found: dict[str, RequirementResult]

    @property
    def wrong(self) -> set[str]:
        """Requirements that bind and do not hold."""
        return {
            found.id
            for found in self.found.values()
            if found.level != "MAY" and found.status not in ("pass", "warn", "skip")
        }

    def __getitem__(self, requirement: str) -> RequirementResult:
        return self.found[requirement]

    def counterexample(self, requirement: str) -> FailingCase:
        """The case that was written of an explained failure."""
        return read_case(Path(self.found[requirement].case))


class Libraries:
    """Real libraries by name; their heavy parts are replaced in their processes, see the shims' own words.

    What was explained is kept, for several tests look at it.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loaded: dict[str, IsolatedCandidate] = {}
        self._explained: dict[tuple[str, str, str, str], RequirementResult] = {}
        self._open = ExitStack()

    def load(self, name: str) -> IsolatedCandidate:
        """The library in its process."""
        if importlib.util.find_spec(name) is None:
            if os.environ.get("CI"):
                pytest.fail(f"{name} is missing: pip install --no-deps -r conformance/tests/requirements-peers.txt")
            pytest.skip(f"{name} is not installed")
        if name not in self._loaded:
            self._loaded[name] = self._open.enter_context(candidate(Target(name)))
        return self._loaded[name]

    def judge(self, name: str, technique: str, explain: Collection[str] = (), profile: str = "quick") -> Judged:
        """Judge a technique; only the failures to `explain` are made small, written as cases and given a cause."""
        verdict = self._run(name, Plan(techniques=(technique,), profile=profile, shrink=False))
        found = {requirement.id: requirement for requirement in verdict.requirements}
        if explain:
            found |= self._explain(name, technique, explain, profile)
        judged = Judged(verdict, found)
        unknown = {id_ for id_ in judged.wrong if found[id_].status != "known"}
        assert not unknown, f"{name} has deviations that its adapter does not know: {unknown}"
        mended = {id_ for id_, requirement in found.items() if requirement.status == "fixed"}
        assert not mended, f"{name} is right where its adapter says that it is not: {mended}"
        return judged

    def diagnose(self, name: str, technique: str, requirements: Collection[str]) -> dict[str, str | None]:
        """The mistakes that explain known failures, by requirement."""
        found = self._explain(name, technique, requirements, "quick")
        assert {requirement.status for requirement in found.values()} == {"known"}
        return {id_: requirement.diagnosis for id_, requirement in found.items()}

    def evaluate(self, name: str, technique: str, case: Case) -> tuple:
        """What the library gives for one input."""
        return self.load(name).evaluate(technique, case).outputs

    def close(self) -> None:
        """End their processes."""
        self._open.close()

    def _explain(
        self, name: str, technique: str, requirements: Collection[str], profile: str
    ) -> dict[str, RequirementResult]:
        def key(id_: str) -> tuple[str, str, str, str]:
            return name, technique, profile, id_

        missing = {id_ for id_ in requirements if key(id_) not in self._explained}
        if missing:
            plan = Plan(
                techniques=(technique,), profile=profile, requirements=frozenset(missing), cases=self._folder / name
            )
            self._explained |= {key(found.id): found for found in self._run(name, plan).requirements}
        return {id_: self._explained[key(id_)] for id_ in requirements}

    def _run(self, name: str, plan: Plan) -> TechniqueResult:
        (result,) = run(self.load(name), Target(name), plan, Listener()).techniques
        return result


@pytest.fixture(scope="session")
def _all_libraries(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Libraries]:
    made = Libraries(tmp_path_factory.mktemp("cases"))
    yield made
    made.close()


@pytest.fixture
def libraries(_all_libraries: Libraries, monkeypatch: pytest.MonkeyPatch) -> Libraries:
    """Real libraries, which stay loaded between tests."""
    monkeypatch.setenv("PYTHONPATH", str(_SHIMS), prepend=os.pathsep)
    return _all_libraries
