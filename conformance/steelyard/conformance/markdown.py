"""A result as Markdown, for the summary page of a CI job: the verdicts in a table, each failure folded."""

from __future__ import annotations

import html
import re
from collections.abc import Iterator, Mapping

from steelyard.conformance.contract import Technique
from steelyard.conformance.reporting import failure_report, summary, verdict_row
from steelyard.conformance.results import RequirementResult, Result, Status, TechniqueResult

_LARGEST = 900_000  # bytes: GitHub drops a summary of more than 1 MiB
_BACKTICKS = re.compile("`+")
_SPECIAL = re.compile(r"([\\`*_\[\]<>|~#&$])")
_LINE = 2000  # characters of a report's line: a candidate's exception may have any length


def markdown_summary(result: Result, techniques: Mapping[str, Technique]) -> str:
    """The whole document; failures that would make it too large for a CI system are counted instead."""
    parts = [_head(result)]
    size = _size(parts[0])
    folded = list(_folded(result, techniques))
    for number, part in enumerate(folded):
        size += _size(part)
        if size > _LARGEST:
            parts.append(f"{len(folded) - number} further results do not fit here; `--json FILE` writes them all.\n")
            break
        parts.append(part)
    return _encodable("\n".join(parts))


def _size(text: str) -> int:
    return len(_encodable(text).encode())


def _encodable(text: str) -> str:
    """Without lone surrogates, which a candidate's message may hold and no file can."""
    return text.encode(errors="replace").decode()


def _head(result: Result) -> str:
    lines = [f"## Steelyard: {_plain(f'{result.target} {result.version}'.strip())}", ""]
    lines += [f"{'' if result.conforms else '**Red.** '}{_plain(summary(result))}", ""]
    lines += ["| technique | verdict | results | checks | bound used |", "| --- | --- | --- | ---: | ---: |"]
    for judged in result.techniques:
        cells = [_plain(cell) for cell in verdict_row(judged)]
        lines.append(f"| {' | '.join(cells)} |")
    notes = [f"{judged.id}: {sentence}" for judged in result.techniques for sentence in judged.departures]
    notes += [
        f"{judged.id}: too few checks: {sentence}" for judged in result.techniques for sentence in judged.missed_floor
    ]
    notes += [f"known failure that matches no requirement of this run: {sentence}" for sentence in result.unmatched]
    return "\n".join([*lines, "", *(f"- {_plain(note)}" for note in notes)]).rstrip() + "\n"


def _folded(result: Result, techniques: Mapping[str, Technique]) -> Iterator[str]:
    """What makes the run red first, then what is known or not binding."""
    found = [(judged, requirement) for judged in result.techniques for requirement in judged.requirements]
    red = [pair for pair in found if pair[1].is_red]
    rest = [pair for pair in found if _is_noteworthy(pair[1])]
    for heading, pairs in (("What has to be mended", red), ("Known, or not binding", rest)):
        if pairs:
            yield f"### {heading}\n"
        for judged, requirement in pairs:
            yield _details(judged, requirement, techniques[judged.id])


def _is_noteworthy(found: RequirementResult) -> bool:
    return not found.is_red and found.status in (Status.FAIL, Status.ERROR, Status.KNOWN)


def _details(judged: TechniqueResult, found: RequirementResult, technique: Technique) -> str:
    first = (found.message or "(no message)").splitlines()[0]
    title = f"{judged.id} <b>{html.escape(found.id)}</b> {found.level} {found.status.value}: {_in_html(first)}"
    return f"<details><summary>{title}</summary>\n\n{_fenced(failure_report(technique, found))}\n\n</details>\n"


def _fenced(text: str) -> str:
    """A code block whose fence is longer than any run of backticks in it."""
    shortened = "\n".join(line if len(line) <= _LINE else f"{line[:_LINE]} ..." for line in text.splitlines())
    longest = max((len(run) for run in _BACKTICKS.findall(shortened)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}text\n{shortened}\n{fence}"


def _in_html(text: str) -> str:
    return html.escape(text if len(text) <= _LINE else f"{text[:_LINE]} ...")


def _plain(text: str) -> str:
    """Text as it stands, on one line: no character of it is markup, also not in a cell of a table."""
    return _SPECIAL.sub(r"\\\1", " ".join(text.split()))
