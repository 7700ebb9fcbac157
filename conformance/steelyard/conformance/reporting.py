"""Results as text: tables for people, the report of a failure, the specification page."""

from __future__ import annotations

import inspect
import shlex
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from rich.console import Console, Group, RenderableType
from rich.markup import escape
from rich.padding import Padding
from rich.syntax import Syntax
from rich.table import Table
from rich.text import Text

from steelyard.conformance.automatic_mutants import AutomaticResult
from steelyard.conformance.bundled import BundledAdapter
from steelyard.conformance.contract import Dialect, Technique
from steelyard.conformance.kill_matrix import MutantResult
from steelyard.conformance.results import RequirementResult, Result, Status, TechniqueResult, Verdict

_STYLES = {
    Status.PASS: "green",
    Status.WARN: "yellow",
    Status.FAIL: "bold red",
    Status.ERROR: "bold red",
    Status.SKIP: "dim",
    Status.KNOWN: "magenta",
    Status.FIXED: "bold red",
}
_VERDICTS = {
    Verdict.CONFORMS: "green",
    Verdict.DEVIATES: "bold red",
    Verdict.NOT_IMPLEMENTED: "dim",
    Verdict.UNFINISHED: "yellow",
}


def failure_report(technique: Technique, found: RequirementResult) -> str:
    """One failure as a small report: what, where, how far, why, and how to see it again."""
    requirement = technique.requirement(found.id)
    first, *rest = (found.message or "(no message)").splitlines()
    lines = [
        f"{found.id} {found.level} {found.status.value}: {first}",
        f"  requirement: {requirement.text}   ({requirement.source})",
    ]
    lines += rest
    if found.explanation:
        lines.append(f"  looks like: {found.explanation}")
    if found.reason:
        lines.append(f"  known: {found.reason}{f' ({found.url})' if found.url else ''}")
    if found.case:
        lines.append(f"  replay: {shlex.join(['steelyard', 'replay', found.case])}")
    return "\n".join(lines)


def verdict_table(result: Result) -> Table:
    """One row a technique."""
    table = Table(title=f"{result.target} {result.version}".strip(), title_justify="left")
    table.add_column("technique", no_wrap=True)
    table.add_column("verdict", no_wrap=True)
    table.add_column("results")
    table.add_column("checks", justify="right")
    table.add_column("bound used", justify="right")
    for technique in result.techniques:
        name, verdict, *rest = verdict_row(technique)
        table.add_row(name, Text(verdict, style=_VERDICTS[technique.verdict]), *rest)
    return table


def verdict_row(technique: TechniqueResult) -> tuple[str, str, str, str, str]:
    """Technique, verdict, how many results of each status, checks, and the largest share of the bound used."""
    counts = Counter(found.status for found in technique.requirements)
    counted = ", ".join(f"{counts[status]} {status.value}" for status in Status if counts[status])
    used = [r.bound_used for r in technique.requirements if r.bound_used is not None and r.status == Status.PASS]
    verdict = technique.verdict.value + (f" ({technique.dialect})" if technique.dialect else "")
    checks = sum(found.checks for found in technique.requirements)
    return technique.id, verdict, counted, str(checks), f"{max(used):.2f}" if used else ""


def adapters_table(adapters: Sequence[BundledAdapter]) -> Table:
    """One row a library."""
    table = Table(title="bundled adapters", title_justify="left")
    table.add_column("adapter", no_wrap=True)
    table.add_column("installed", no_wrap=True)
    table.add_column("techniques (* with known deviations)")
    for adapter in adapters:
        names = [f"{id_}*" if id_ in adapter.known else id_ for id_ in adapter.techniques]
        installed = Text(adapter.installed, style="green") if adapter.installed else Text("no", style="dim")
        table.add_row(adapter.name, installed, ", ".join(names))
    return table


def requirement_line(found: RequirementResult) -> Text:
    """One requirement on one line, as it is found."""
    first = found.message.splitlines()[0] if found.message else ""
    line = Text(f"  {found.id:<8}{found.level:<7}", style="dim")
    line.append(f"{found.status.value:<6}", style=_STYLES[found.status])
    line.append(f"{found.kind:<28}")
    line.append(first[:110])
    return line


def print_result(console: Console, result: Result, techniques: dict[str, Technique]) -> None:
    """The failures, known ones too, the verdicts and the summary line."""
    for judged in result.techniques:
        for found in judged.requirements:
            if found.status in (Status.FAIL, Status.ERROR, Status.FIXED, Status.KNOWN):
                report = escape(failure_report(techniques[judged.id], found))
                console.print(report, highlight=False, soft_wrap=True)
                console.print()
    console.print(verdict_table(result))
    for judged in result.techniques:
        for sentence in judged.departures:
            console.print(f"{judged.id}: {sentence}", highlight=False)
        for sentence in judged.missed_floor:
            console.print(f"[bold red]{judged.id}: too few checks: {escape(sentence)}")
    for sentence in result.unmatched:
        console.print(f"[bold red]known failure that matches no requirement of this run: {escape(sentence)}")
    console.print(summary(result), highlight=False)


def summary(result: Result) -> str:
    """One line: the outcome and what it was judged on."""
    counted = ", ".join(f"{number} {status}" for status, number in result.counts.items() if number)
    how = f"profile {result.profile}, seed {result.seed}, {result.duration_s:.1f} s"
    known = any(r.status == Status.KNOWN and r.level == "MUST" for t in result.techniques for r in t.requirements)
    outcome = f"every MUST holds{', known failures aside' if known else ''}" if result.conforms else _why_red(result)
    ended = "" if result.complete else "INTERRUPTED, partial: "
    return f"{ended}{outcome}: {counted or 'nothing judged'} ({how})"


def _why_red(result: Result) -> str:
    red = any(r.is_red for t in result.techniques for r in t.requirements)
    if not result.complete and not red:
        return "no deviation so far"
    if result.unmatched:
        return "the list of known failures is out of date"
    if any(r.status == Status.FIXED for t in result.techniques for r in t.requirements):
        return "a known failure is mended"
    if any(t.missed_floor for t in result.techniques):
        return "too few checks were made"
    if all(t.verdict == Verdict.NOT_IMPLEMENTED for t in result.techniques):
        return "nothing is implemented"
    return "a MUST does not hold"


def techniques_table(techniques: Iterable[Technique]) -> Table:
    """One row a technique of the specification, under its family's name."""
    table = Table()
    table.add_column("technique", no_wrap=True)
    table.add_column("title")
    table.add_column("requirements, mutants", justify="right")
    family = ""
    for technique in techniques:
        if technique.family != family:
            family = technique.family
            table.add_row(Text(family, style="bold"))
        table.add_row(f"  {technique.id}", technique.title, f"{len(technique.requirements)}, {len(technique.mutants)}")
    return table


def specification_page(technique: Technique, *, source: bool) -> RenderableType:
    """What the site says of a technique, from the same docstrings and contract; with `source` the reference's code."""
    module = inspect.getmodule(technique.oracle)
    parts: list[RenderableType] = [
        Text(technique.title, style="bold"),
        Text(technique.summary),
        Text(f"Source: {'; '.join(technique.sources)}", style="dim"),
        Text("\nWhat it is for\n", style="bold"),
        Text(inspect.getdoc(module) or "", style="default"),
        Text("\nDefinition\n", style="bold"),
        Text(inspect.getdoc(technique.oracle) or "", style="default"),
        Text(""),
        _requirements_table(technique),
    ]
    parts += [
        Text(f"No mutant is caught by {requirement.id} alone: {requirement.no_mutant}", style="dim")
        for requirement in technique.requirements
        if requirement.no_mutant
    ]
    parts += [
        Text(f"Not applicable: {kind.value}: {reason}", style="dim")
        for kind, reason in technique.not_applicable.items()
    ]
    if technique.rulings:
        parts += [Text("\nRulings", style="bold")]
        parts += [Padding(Text(f"{ruling.id}: {ruling.text}"), (0, 0, 0, 2)) for ruling in technique.rulings]
    if technique.dialects:
        parts += [Text("\nDialects", style="bold")]
        parts += [Padding(Text(_dialect(dialect)), (0, 0, 0, 2)) for dialect in technique.dialects]
    parts += [Text("\nMutants (known mistakes)", style="bold")]
    parts += [
        Padding(
            Text(f"{mutant.id}: {mutant.summary}" + (f" [{mutant.seen_in}]" if mutant.seen_in else "")), (0, 0, 0, 2)
        )
        for mutant in technique.mutants
    ]
    if source:
        file = inspect.getsourcefile(technique.oracle)
        assert file is not None
        parts += [Text(f"\n{technique.oracle.__module__}", style="bold")]
        parts += [Syntax(Path(file).read_text(encoding="utf-8"), "python", word_wrap=True)]
    return Group(*parts)


def _dialect(dialect: Dialect) -> str:
    options = ", ".join(f"{name}={value!r}" for name, value in dialect.options.items())
    return f"{dialect.id}: {dialect.summary} ({options}{'; departs from the paper' * dialect.departs_from_paper})"


def _requirements_table(technique: Technique) -> Table:
    table = Table(title="Requirements", title_justify="left")
    for heading in ("id", "level", "kind", "requirement", "source"):
        table.add_column(heading, overflow="fold")
    for requirement in technique.requirements:
        table.add_row(
            requirement.id, requirement.level.value, requirement.kind.value, requirement.text, requirement.source
        )
    return table


def print_automatic(console: Console, rows: Sequence[AutomaticResult], problems: Iterable[str]) -> None:
    """Survivors among the automatic mutants, and the score of each technique."""
    table = Table(title="Automatic mutants", title_justify="left")
    table.add_column("technique", no_wrap=True)
    for heading in ("made", "killed", "equal", "left", "score"):
        table.add_column(heading, justify="right", no_wrap=True)
    for technique_id in dict.fromkeys(row.technique for row in rows):
        own = [row for row in rows if row.technique == technique_id]
        killed = sum(row.killed for row in own)
        equivalent = sum(bool(row.equivalent) and not row.killed for row in own)
        survive = len(own) - killed - equivalent
        style = "bold red" if survive else "green"
        table.add_row(
            technique_id, str(len(own)), str(killed), str(equivalent), Text(str(survive), style=style),
            f"{100 * killed / len(own):.1f} %",
        )  # fmt: skip
    for row in rows:
        if not row.killed and not row.equivalent:
            console.print(f"[bold red]SURVIVES[/] {row.technique} line {row.line}", highlight=False)
            console.print(f"  {escape(row.mutant)}", highlight=False, soft_wrap=True)
    for sentence in problems:
        console.print(f"[bold red]equivalent_mutants.toml:[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    console.print(table)
    killed = sum(row.killed for row in rows)
    equivalent = sum(bool(row.equivalent) and not row.killed for row in rows)
    console.print(
        f"{killed} of {len(rows)} automatic mutants killed ({100 * killed / max(len(rows), 1):.1f} %), "
        f"{equivalent} are equivalent, {len(rows) - killed - equivalent} survive",
        highlight=False,
    )


def matrix_table(rows: Iterable[MutantResult]) -> Table:
    """The kill matrix."""
    table = Table(title="Kill matrix", title_justify="left")
    for heading in ("technique", "mutant", "killed", "by"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        outcome = Text("killed", style="green") if row.killed else Text("SURVIVES", style="bold red")
        table.add_row(row.technique, row.mutant, outcome, " ".join(row.by))
    return table


def progress_text(judged: TechniqueResult) -> str:
    """One plain line a technique, for logs."""
    return f"{judged.id}: {judged.verdict.value}"
