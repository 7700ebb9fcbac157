"""A result as JUnit XML, which CI systems show: a test suite for each technique, a test case for each requirement.

There is a failure or an error in the file if and only if the run's exit status is not 0. What is wrong but not
binding, what the candidate lacks and what is known to fail are skipped, each with its reason. What makes a run red as
a whole (too few checks, a stale list of known failures, an interruption) has test cases of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from steelyard.conformance.contract import Technique
from steelyard.conformance.reporting import failure_report
from steelyard.conformance.results import RequirementResult, Result, Status, TechniqueResult, Verdict

_NOT_XML = re.compile("[^\t\n\r\u0020-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_OUTCOMES = ("failure", "error", "skipped")


def junit_xml(result: Result, techniques: Mapping[str, Technique]) -> str:
    """The whole document."""
    root = Element("testsuites", name=_text(f"steelyard {result.target} {result.version}".strip()))
    for judged in result.techniques:
        suite = SubElement(root, "testsuite", name=judged.id)
        _properties(suite, result, judged)
        for found in judged.requirements:
            _requirement(suite, found, techniques[judged.id], result.target)
        for sentence in judged.missed_floor:
            _add(suite, result.target, f"enough checks: {sentence.partition(':')[0]}", "failure", sentence)
        if not judged.requirements:
            _add(suite, result.target, "implemented", "skipped", "the candidate does not implement this technique")
        _count(suite, [suite])
    _whole_run(root, result)
    _count(root, list(root))
    root.set("time", f"{result.duration_s:.3f}")
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _requirement(suite: Element, found: RequirementResult, technique: Technique, target: str) -> None:
    name = f"{found.id} {found.level} {found.kind}"
    report = failure_report(technique, found)
    first = (found.message or "(no message)").splitlines()[0]
    if found.status == Status.ERROR and found.is_red:
        _add(suite, target, name, "error", first, report)
    elif found.is_red:
        _add(suite, target, name, "failure", first, report)
    elif found.status in (Status.FAIL, Status.ERROR):
        _add(suite, target, name, "skipped", f"not binding ({found.level}): {first}", report)
    elif found.status == Status.KNOWN:
        url = f" ({found.url})" if found.url else ""
        _add(suite, target, name, "skipped", f"known failure: {found.reason}{url}", report)
    elif found.status == Status.SKIP:
        _add(suite, target, name, "skipped", first)
    else:
        _add(suite, target, name, None, "", report if found.status == Status.WARN else "")


def _whole_run(root: Element, result: Result) -> None:
    """What is wrong with the run itself."""
    wrong = [("known failures are up to date", sentence) for sentence in result.unmatched]
    if all(judged.verdict == Verdict.NOT_IMPLEMENTED for judged in result.techniques):
        wrong.append(("something is judged", "the candidate implements nothing of what was asked for"))
    if not result.complete:
        wrong.append(("the run is complete", "the run was interrupted"))
    if wrong:
        suite = SubElement(root, "testsuite", name="the run as a whole")
        for name, message in wrong:
            _add(suite, result.target, name, "failure", message)
        _count(suite, [suite])


def _add(suite: Element, target: str, name: str, outcome: str | None, message: str, report: str = "") -> None:
    """One test case; the report of one that is not red goes to its output, where nobody takes it for a failure."""
    classname = _text(f"{target}.{suite.get('name')}")
    case = SubElement(suite, "testcase", classname=classname, name=_text(name))
    if outcome is not None:
        body = SubElement(case, outcome, message=_text(message))
        if outcome != "skipped":
            body.set("type", "deviation" if outcome == "failure" else "exception")
            body.text = _text(report or message)
            return
    if report:
        SubElement(case, "system-out").text = _text(report)


def _properties(suite: Element, result: Result, judged: TechniqueResult) -> None:
    properties = SubElement(suite, "properties")
    settings = {
        "verdict": judged.verdict.value, "dialect": judged.dialect or "", "version": result.version,
        "profile": result.profile, "seed": str(result.seed), "device": result.device, **result.environment,
    }  # fmt: skip
    for name, value in settings.items():
        if value:
            SubElement(properties, "property", name=name, value=_text(value))


def _count(element: Element, suites: list[Element]) -> None:
    element.set("tests", str(sum(len(suite.findall("testcase")) for suite in suites)))
    for outcome in _OUTCOMES:
        plural = outcome if outcome == "skipped" else f"{outcome}s"
        element.set(plural, str(sum(len(suite.findall(f"testcase/{outcome}")) for suite in suites)))


def _text(text: str) -> str:
    """Without the characters that XML cannot hold, which a candidate's exception may contain."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", text)
