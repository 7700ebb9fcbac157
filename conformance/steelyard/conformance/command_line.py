"""The `steelyard` command."""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from steelyard.conformance import doors, reporting
from steelyard.conformance.automatic_mutants import automatic_matrix, unknown_entries, wrong_entries
from steelyard.conformance.badge import badge_svg
from steelyard.conformance.benching import bench
from steelyard.conformance.bundled import bundled_adapters
from steelyard.conformance.candidates import LoadError
from steelyard.conformance.cases import read_case
from steelyard.conformance.census.command import census
from steelyard.conformance.contract import OptionValue, Technique
from steelyard.conformance.doors import UsageError
from steelyard.conformance.exits import EXIT_DEVIATES, EXIT_INTERRUPTED, EXIT_LOAD, EXIT_OK, clear_errors
from steelyard.conformance.generation import SeededDraw
from steelyard.conformance.isolation import Limits
from steelyard.conformance.junit import junit_xml
from steelyard.conformance.kill_matrix import kill_matrix, undefended
from steelyard.conformance.known_failures import write_known_failures
from steelyard.conformance.loading import BUNDLED, Target
from steelyard.conformance.markdown import markdown_summary
from steelyard.conformance.profiles import PROFILES
from steelyard.conformance.registry import TECHNIQUES, closest, technique
from steelyard.conformance.report.command import report
from steelyard.conformance.report_files import check_places, write_json, write_text
from steelyard.conformance.results import RequirementResult, Result
from steelyard.conformance.resuming import read_interrupted
from steelyard.conformance.running import Listener, check_case
from steelyard.conformance.vectors.command import vectors
from steelyard.conformance.version import __version__

app = typer.Typer(
    name="steelyard",
    no_args_is_help=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)

app.command()(census)
app.add_typer(vectors)
app.command()(report)
app.command()(bench)

_FIRST_STEPS = """\
[bold]steelyard[/bold] weighs implementations of class-imbalance techniques.

  steelyard list                       which techniques there are
  steelyard show sigmoid_focal_loss    what one demands, and why

Judge a function of yours, first whether it is wired up, then whether it is
right (--set and --map adapt its keywords):

  steelyard smoke losses.py:focal --as sigmoid_focal_loss
  steelyard check losses.py:focal --as sigmoid_focal_loss --profile quick

Judge what is there already:

  steelyard adapters                   libraries that have an adapter
  steelyard check torchvision          one of them
  steelyard check steelyard.impl       our own implementation, in PyTorch

`steelyard COMMAND --help` explains each command, `steelyard --help` names all;
`steelyard --install-completion` lets the shell complete them.
"""


def _technique_ids() -> list[str]:
    """For the shell's completion."""
    return list(TECHNIQUES)


def _requirement_ids(context: typer.Context) -> list[str]:
    """For the shell's completion: those of the techniques that are chosen already."""
    chosen = context.params.get("techniques") or [context.params.get("as_technique")]
    return [r.id for id_ in chosen if id_ in TECHNIQUES for r in TECHNIQUES[id_].requirements]


def _mutant_ids() -> list[str]:
    """For the shell's completion."""
    return [mutant.id for contract in TECHNIQUES.values() for mutant in contract.mutants]


def _profiles() -> list[str]:
    """For the shell's completion."""
    return list(PROFILES)


def _targets() -> list[str]:
    """For the shell's completion, besides the files that it knows itself."""
    return ["steelyard.impl", *(path.stem for path in sorted(BUNDLED.glob("[!_]*.py"))), *map(str, Path().glob("*.py"))]


TARGET = typer.Argument(
    metavar="TARGET",
    autocompletion=_targets,
    help="A module (steelyard.impl), a Python file, package.module:function, a bundled adapter (torchvision), or"
    " exec:COMMAND, a program in any language that speaks JSON lines.",
)
TargetArgument = Annotated[str, TARGET]
AsOption = Annotated[
    str | None,
    typer.Option(
        "--as", metavar="TECHNIQUE", help="Which technique the function of TARGET implements.",
        autocompletion=_technique_ids,
    ),
]  # fmt: skip
MapOption = Annotated[
    list[str] | None,
    typer.Option("--map", metavar="OURS=THEIRS", help="The candidate's name for an argument or option of ours."),
]
SetOption = Annotated[
    list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="A further keyword for every call.")
]
TechniqueOption = Annotated[
    list[str] | None,
    typer.Option(
        "--technique", "-t", metavar="ID", help="Only this technique; may be repeated.", autocompletion=_technique_ids
    ),
]
SeedOption = Annotated[int, typer.Option(help="Same seed, same inputs, same verdict, on any machine.")]
JsonOption = Annotated[str | None, typer.Option("--json", metavar="FILE", help="Write JSON; - is standard output.")]
JunitOption = Annotated[
    str | None, typer.Option("--junit", metavar="FILE", help="Write JUnit XML: a test case a requirement.")
]
MarkdownOption = Annotated[
    str | None, typer.Option("--markdown", metavar="FILE", help="Write a summary for CI; - is standard output.")
]
BadgeOption = Annotated[str | None, typer.Option("--badge", metavar="FILE", help="Write the verdict as an SVG badge.")]
ProfileOption = Annotated[str, typer.Option(help=f"How hard to look: {', '.join(PROFILES)}.", autocompletion=_profiles)]


@app.callback(invoke_without_command=True)
def root(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,  # noqa: FBT002
) -> None:
    """Judge implementations of class-imbalance techniques for object detection against an executable specification."""
    if version:
        typer.echo(f"steelyard {__version__}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        Console().print(_FIRST_STEPS, highlight=False)


@app.command("list")
def list_(json_file: JsonOption = None) -> None:
    """List the techniques of the specification."""
    if json_file is not None:
        write_json(json_file, [_listing(contract) for contract in TECHNIQUES.values()])
        return
    Console().print(reporting.techniques_table(TECHNIQUES.values()))


@app.command()
def show(
    technique_id: Annotated[
        str, typer.Argument(metavar="TECHNIQUE", help="An id of `steelyard list`.", autocompletion=_technique_ids)
    ],
    source: Annotated[bool, typer.Option("--source", help="Also the reference's code.")] = False,  # noqa: FBT002
) -> None:
    """Show what a technique is and what it demands: definition, requirements, rulings, known mistakes."""
    with clear_errors():
        page = reporting.specification_page(technique(technique_id), source=source)
        Console().print(page)


@app.command()
def adapters(json_file: JsonOption = None) -> None:
    """List the bundled adapters of libraries, the techniques that each offers, and whether its library is installed."""
    found = bundled_adapters()
    if json_file is not None:
        write_json(json_file, [asdict(adapter) for adapter in found])
        return
    Console().print(reporting.adapters_table(found))


@app.command()
def smoke(
    target: TargetArgument,
    as_technique: AsOption = None,
    names: MapOption = None,
    constants: SetOption = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
) -> None:
    """Is the adapter wired up? Calls each technique once, before the mathematics is judged."""
    console = Console()
    with clear_errors():
        made = _target(target, as_technique, names, constants)
        broken = False
        with doors.candidate(made, device=device) as loaded:
            description = loaded.description
            console.print(f"{description.name} {description.version} ({description.arrays} arrays)", highlight=False)
            for technique_id in description.functions:
                problem = _call_once(technique(technique_id), loaded)
                broken |= bool(problem)
                outcome = f"[red]{escape(problem)}" if problem else "[green]answers"
                console.print(f"  {technique_id}: {outcome}", highlight=False)
        raise typer.Exit(EXIT_DEVIATES if broken else EXIT_OK)


@app.command()
def check(  # noqa: PLR0913, PLR0917 - Typer reads them as options
    target: Annotated[str | None, TARGET] = None,
    techniques: TechniqueOption = None,
    profile: ProfileOption = "default",
    seed: SeedOption = 0,
    device: Annotated[str, typer.Option(help="Where tensors live: cpu or cuda.")] = "cpu",
    dtypes: Annotated[list[str] | None, typer.Option("--dtype", help="Only this precision; may be repeated.")] = None,
    as_technique: AsOption = None,
    names: MapOption = None,
    constants: SetOption = None,
    known: Annotated[Path | None, typer.Option(metavar="FILE", help="Expected failures (TOML).")] = None,
    write_known: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write what fails as expected failures.")
    ] = None,
    json_file: JsonOption = None,
    junit_file: JunitOption = None,
    markdown_file: MarkdownOption = None,
    badge_file: BadgeOption = None,
    cases: Annotated[Path, typer.Option(metavar="DIR", help="Where failing inputs are written.")] = Path(
        "steelyard-cases"
    ),
    time_limit: Annotated[float, typer.Option(metavar="SECONDS", help="For one call of the candidate.")] = 20.0,
    memory_limit: Annotated[float, typer.Option(metavar="GIB", help="For the candidate's process; 0 is none.")] = 8.0,
    isolation: Annotated[bool, typer.Option(help="Run the candidate in a process of its own.")] = True,  # noqa: FBT002
    requirements: Annotated[
        list[str] | None,
        typer.Option(
            "--requirement",
            "-r",
            metavar="ID",
            help="Only this requirement; may be repeated.",
            autocompletion=_requirement_ids,
        ),
    ] = None,
    installed: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--installed", help="Instead of a TARGET: every library that has a bundled adapter.")
    ] = False,
    resume: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--resume", help="Go on with the interrupted run whose results stand in the file of --json.")
    ] = False,
) -> None:
    """Judge an implementation against the specification.

    Exit status: 0 every MUST holds; 1 a MUST fails, a known failure is mended or matches nothing, or too few checks
    were made; 2 wrong usage; 3 the target cannot be loaded; 130 interrupted (what was found is still written).

    The file of --json is rewritten after each requirement: a run that is killed loses nothing, and --resume goes on
    with the first technique that is not complete.

    With --installed, --json and --cases are directories with an entry for each library; its status is the worst one.
    """
    reports = {"--json": json_file, "--junit": junit_file, "--markdown": markdown_file, "--badge": badge_file}
    console = Console(stderr="-" in reports.values())
    with clear_errors():
        limits = Limits(
            call_seconds=time_limit,
            memory_bytes=int(memory_limit * 2**30) if memory_limit and device == "cpu" else None,
        )
        if installed:
            refused = {"TARGET": target, "--as": as_technique, "--known": known, "--write-known": write_known,
                       "--junit": junit_file, "--markdown": markdown_file, "--badge": badge_file}  # fmt: skip
            _refuse_beside("--installed", refused)
            options = {"techniques": techniques or None, "profile": profile, "seed": seed, "device": device,
                       "dtypes": dtypes or None, "requirements": requirements or None,
                       "limits": limits, "isolated": isolation}  # fmt: skip
            raise typer.Exit(_check_installed(console, json_file, cases, options))
        if target is None:
            raise UsageError("TARGET: expected what to judge (or --installed); see steelyard check --help")
        check_places(reports)
        made = _target(target, as_technique, names, constants)
        if resume and json_file in (None, "-"):
            raise UsageError("--resume: needs --json FILE, the results of the interrupted run")
        interrupted = read_interrupted(Path(json_file)) if resume and json_file is not None else None
        with _listener(console, json_file) as listener, _ended_by_sigterm_too():
            result = doors.check(
                made, techniques=techniques or None, profile=profile, seed=seed, device=device, dtypes=dtypes or None,
                known=known if known is not None else (), cases=cases, limits=limits, isolated=isolation,
                requirements=requirements or None, listener=listener, resume=interrupted,
            )  # fmt: skip
        reporting.print_result(console, result, TECHNIQUES)
        _write_reports(result, reports, known_file=write_known)
    if not result.complete:
        raise typer.Exit(EXIT_INTERRUPTED)
    raise typer.Exit(result.exit_status)


def _check_installed(console: Console, json_folder: str | None, cases: Path, options: dict[str, Any]) -> int:
    """Judge the libraries one after the other; what one does, even if it cannot be loaded, keeps no other back."""
    wanted = set(options["techniques"] or TECHNIQUES)
    present = [a for a in bundled_adapters() if a.installed is not None and wanted & set(a.techniques)]
    if not present:
        raise UsageError("--installed: no library with a bundled adapter is installed; see steelyard adapters")
    if json_folder is not None:
        Path(json_folder).mkdir(parents=True, exist_ok=True)
    statuses = []
    for adapter in present:
        console.rule(f"{adapter.name} {adapter.installed}")
        file = None if json_folder is None else str(Path(json_folder) / f"{adapter.name}.json")
        offered = [id_ for id_ in adapter.techniques if id_ in wanted]
        try:
            with _listener(console, file) as listener, _ended_by_sigterm_too():
                result = doors.check(
                    adapter.name, cases=cases / adapter.name, listener=listener, **{**options, "techniques": offered}
                )
        except LoadError as error:
            console.print(f"[red]{escape(str(error))}", highlight=False)
            statuses.append(EXIT_LOAD)
            continue
        reporting.print_result(console, result, TECHNIQUES)
        if file is not None:
            write_json(file, result.to_json())
        if not result.complete:
            return EXIT_INTERRUPTED
        statuses.append(result.exit_status)
    return max(statuses)


def _refuse_beside(option: str, others: Mapping[str, object]) -> None:
    for name, value in others.items():
        if value is not None:
            raise UsageError(f"{name}: not beside {option}")


@app.command()
def replay(
    case_file: Annotated[Path, typer.Argument(metavar="CASE.json", help="A file that `check` wrote.")],
    target: Annotated[str | None, typer.Argument(metavar="TARGET", help="By default the one that failed.")] = None,
) -> None:
    """Judge one failing input again. Exit status: 0 it holds now, 1 it still fails."""
    console = Console()
    with clear_errors():
        failing = read_case(case_file)
        made = failing.target if target is None else Target(
            target, failing.target.technique, failing.target.names, failing.target.constants)  # fmt: skip
        contract = technique(failing.technique)
        with doors.candidate(made) as loaded:
            if contract.id not in loaded.description.functions:
                raise LoadError(f"{made.text}: does not implement {contract.id}")
            report = check_case(loaded, failing)
        requirement = contract.requirement(failing.requirement)
        console.print(f"{contract.id} {requirement.id} {requirement.level.value}: {requirement.text}", highlight=False)
        console.print(escape(report) if report else "holds on this input", highlight=False)
    raise typer.Exit(EXIT_DEVIATES if report else EXIT_OK)


@app.command()
def mutants(
    techniques: TechniqueOption = None,
    json_file: JsonOption = None,
    profile: ProfileOption = "default",
    seed: SeedOption = 0,
    processes: Annotated[int, typer.Option(help="How many mutants are judged at once.")] = os.cpu_count() or 1,
    automatic: Annotated[  # noqa: FBT002 - a flag
        bool, typer.Option("--automatic", help="Instead, every small change of the oracle's own source.")
    ] = False,
    sample: Annotated[
        int | None, typer.Option(metavar="N", min=1, help="With --automatic: so many of each technique, by the seed.")
    ] = None,
    mutant_ids: Annotated[
        list[str] | None,
        typer.Option(
            "--mutant", "-m", metavar="ID", help="Only this mutant; may be repeated.", autocompletion=_mutant_ids
        ),
    ] = None,
) -> None:
    """Judge every known mistake: the kill matrix. Exit status 1 if a mutant survives or a requirement is undefended.

    With --automatic the mutants are made by machine. Exit status 1 if one survives that is not listed as equivalent.
    """
    console = Console(stderr=json_file == "-")
    with clear_errors():
        contracts = [technique(technique_id) for technique_id in techniques or TECHNIQUES]
        doors.check_profile(profile)
        if sample is not None and not automatic:
            raise UsageError("--sample: goes with --automatic")
        if mutant_ids and automatic:
            raise UsageError("--mutant: not beside --automatic, whose mutants have no ids")
        contracts = [_with_mutants(contract, mutant_ids) for contract in _owners(contracts, mutant_ids or ())]
        if automatic:
            _judge_automatic(
                console, contracts, json_file, profile=profile, seed=seed, processes=processes, sample=sample
            )
        rows = []
        with _bar(console) as progress:
            task = progress.add_task("mutants", total=sum(len(contract.mutants) for contract in contracts))
            for row in kill_matrix(contracts, profile=profile, seed=seed, processes=processes):
                rows.append(row)
                progress.advance(task)
        console.print(reporting.matrix_table(rows))
        survivors = [row for row in rows if not row.killed]
        bare = [] if mutant_ids else undefended(contracts, rows)
        for technique_id, requirement_id in bare:
            console.print(
                f"[bold red]{technique_id} {requirement_id}: no mutant is caught by it alone, and it gives no reason"
            )
        console.print(f"{len(rows) - len(survivors)} of {len(rows)} mutants killed", highlight=False)
        if json_file is not None:
            write_json(json_file, [{**asdict(row), "by": list(row.by), "killed": row.killed} for row in rows])
    raise typer.Exit(EXIT_DEVIATES if survivors or bare else EXIT_OK)


def main() -> None:
    """Entry point."""
    try:
        app()
    except KeyboardInterrupt:
        sys.exit(EXIT_INTERRUPTED)


def _judge_automatic(
    console: Console,
    contracts: list[Technique],
    json_file: str | None,
    *,
    profile: str,
    seed: int,
    processes: int,
    sample: int | None,
) -> NoReturn:
    """`mutants --automatic`."""
    rows = []
    with _bar(console) as progress:
        task = progress.add_task("automatic mutants", total=None)
        for row in automatic_matrix(contracts, profile=profile, seed=seed, processes=processes, sample=sample):
            rows.append(row)
            progress.advance(task)
    problems = wrong_entries(rows)
    if len(contracts) == len(TECHNIQUES):
        problems += unknown_entries(contracts)
    reporting.print_automatic(console, rows, problems)
    if json_file is not None:
        write_json(json_file, [{**asdict(row), "killed": row.killed} for row in rows])
    survivors = [row for row in rows if not row.killed and not row.equivalent]
    raise typer.Exit(EXIT_DEVIATES if survivors or problems else EXIT_OK)


def _owners(contracts: list[Technique], mutant_ids: Sequence[str]) -> list[Technique]:
    """The techniques that have one of these mutants; all, if none is asked for."""
    offered = [mutant.id for contract in contracts for mutant in contract.mutants]
    for mutant_id in mutant_ids:
        if mutant_id not in offered:
            hint = closest(mutant_id, offered)
            raise UsageError(f"mutant: expected an id of `steelyard show TECHNIQUE`, got {mutant_id!r}{hint}")
    return [c for c in contracts if not mutant_ids or any(mutant.id in mutant_ids for mutant in c.mutants)]


def _with_mutants(contract: Technique, mutant_ids: Sequence[str] | None) -> Technique:
    """The contract with these mutants only; with all, if none is asked for."""
    chosen = tuple(mutant for mutant in contract.mutants if not mutant_ids or mutant.id in mutant_ids)
    return replace(contract, mutants=chosen)


# --- helpers --------------------------------------------------------------------------------------------------


def _target(text: str, as_technique: str | None, names: list[str] | None, constants: list[str] | None) -> Target:
    return doors.make_target(
        text,
        as_technique=as_technique,
        names=dict(_pair("--map", item) for item in names or ()),
        constants={name: _literal(value) for name, value in (_pair("--set", item) for item in constants or ())},
    )


def _pair(option: str, text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not (name and equals and value):
        raise UsageError(f"{option}: expected NAME=VALUE, got {text!r}")
    return name, value


def _literal(text: str) -> OptionValue:
    """A JSON number, boolean or null; anything else is a string."""
    try:
        value = json.loads(text)
    except json.JSONDecodeError:
        return text
    return value if isinstance(value, bool | int | float) or value is None else text


def _bar(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)


@contextmanager
def _listener(console: Console, json_file: str | None) -> Iterator[Listener]:
    """A progress bar on a terminal, one plain line a requirement elsewhere; all that is found goes to the file."""
    with _bar(console) as progress:
        tasks = {}

        def on_technique(contract: Technique, requirements: int) -> None:
            tasks[contract.id] = progress.add_task(contract.id, total=requirements)
            console.print(contract.id, style="bold", highlight=False)

        def on_requirement(contract: Technique, found: RequirementResult) -> None:
            console.print(reporting.requirement_line(found), soft_wrap=True)
            progress.advance(tasks[contract.id])

        def on_progress(found: Result) -> None:
            if json_file not in (None, "-"):
                write_json(json_file, found.to_json(), indent=None)

        yield Listener(on_technique, on_requirement, on_progress=on_progress)


@contextmanager
def _ended_by_sigterm_too() -> Iterator[None]:
    """What ends a job in CI is handled like Ctrl-C."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _call_once(contract: Technique, loaded: Any) -> str:  # noqa: ANN401
    from steelyard.conformance.candidates import CandidateError, CandidateLost  # noqa: PLC0415
    from steelyard.conformance.checking import Bench, Deviation, restricted  # noqa: PLC0415

    bench = Bench(contract, loaded)
    dtypes = [dtype for dtype in contract.requirements[0].dtypes if dtype in loaded.description.dtypes]
    case = restricted(contract.requirements[0].cases(SeededDraw("smoke", dtypes)), bench.signature, contract)
    try:
        bench.evaluate(case)
    except (CandidateError, CandidateLost, Deviation) as error:
        return str(error).splitlines()[0]
    return ""


def _listing(contract: Technique) -> dict[str, Any]:
    return {
        "id": contract.id,
        "family": contract.family,
        "title": contract.title,
        "requirements": [
            {"id": r.id, "level": r.level.value, "kind": r.kind.value, "text": r.text} for r in contract.requirements
        ],
        "mutants": [mutant.id for mutant in contract.mutants],
        "sources": list(contract.sources),
    }


def _write_reports(result: Result, reports: Mapping[str, str | None], *, known_file: Path | None) -> None:
    forms: dict[str, Callable[[], str]] = {
        "--json": lambda: json.dumps(result.to_json(), indent=1, allow_nan=False),
        "--junit": lambda: junit_xml(result, TECHNIQUES),
        "--markdown": lambda: markdown_summary(result, TECHNIQUES),
        "--badge": lambda: badge_svg(result),
    }
    for option, file in reports.items():
        if file is not None:
            write_text(file, forms[option]())
    if known_file is not None:
        written = write_known_failures(known_file, result.techniques)
        typer.echo(f"{known_file}: {written} known failures; give each its reason", err=True)
