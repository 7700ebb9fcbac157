"""What the installed libraries do, as a page of the documentation: `python docs/matrix.py`.

Every library that has a bundled adapter and is installed is judged, which takes minutes (`--results DIR` takes the
results of `steelyard check --installed --json DIR` instead). Two files are written to docs/: matrix.html, the page of
`steelyard report` with every counterexample, and matrix.md, the verdicts as a table that a code host shows.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.report.matrix import read_results
from steelyard.conformance.results import Result, TechniqueResult

HERE = Path(__file__).parent
SHIMS = HERE.resolve().parent / "conformance" / "tests" / "shims"
"""Lets libraries be imported without their heavy parts, and does nothing where those are installed."""
STEELYARD = [sys.executable, "-m", "steelyard.conformance"]

HEAD = """\
# What real libraries do

Made on {day} by `python docs/matrix.py`: {libraries} libraries, {cells} implementations of {techniques} techniques,
{checks:,} checks (profile {profile}).

A cell says whether an implementation **conforms** or **deviates** (some MUST does not hold), in which dialect where
practice has several, and how many requirements do not hold: first those that bind (MUST), then the others (SHOULD,
MAY). Precisions and options that a library does not have are skipped, not counted. The page
[matrix.html](matrix.html) (open it from a checkout) has each of them with the smallest input that shows it and a script
to replay it; [deviations](deviations/README.md) has those that are a library's fault, and says which are its choice.
"""


def judge(folder: Path, profile: str) -> None:
    """Results and failing cases of all libraries; a status of 1 says that some deviate, which is what is looked for."""
    command = [*STEELYARD, "check", "--installed", "--profile", profile, "--json", "results", "--cases", "cases"]
    path = os.pathsep.join([str(SHIMS), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path}
    done = subprocess.run(command, cwd=folder, env=environment, check=False)  # noqa: S603 - our own command
    if done.returncode not in (0, 1):
        sys.exit(done.returncode)


def table(results: Sequence[Result], day: str) -> str:
    """The verdicts: a row for each technique that someone implements, a column for each library."""
    judged = [{t.id: t for t in result.techniques if t.requirements} for result in results]
    rows = [id_ for id_ in TECHNIQUES if any(id_ in of for of in judged)]
    head = HEAD.format(
        day=day, libraries=len(results), cells=sum(len(of) for of in judged), techniques=len(rows),
        checks=sum(r.checks for of in judged for t in of.values() for r in t.requirements), profile=results[0].profile,
    )  # fmt: skip
    lines = [
        "| technique | " + " | ".join(f"{result.target} {result.version}" for result in results) + " |",
        "| --- |" + " --- |" * len(results),
        *(f"| {id_} | " + " | ".join(_cell(of.get(id_)) for of in judged) + " |" for id_ in rows),
    ]
    return f"{head}\n" + "\n".join(lines) + "\n"


def _cell(judged: TechniqueResult | None) -> str:
    if judged is None:
        return ""
    missed = Counter(r.level == "MUST" for r in judged.requirements if r.status in ("fail", "error", "known"))
    said = judged.verdict.value if judged.dialect is None else f"{judged.verdict.value} ({judged.dialect})"
    return said + (f": {missed[True]} + {missed[False]}" if missed else "")


def main(arguments: Sequence[str] | None = None) -> None:
    """Judge, or read what was judged, and write the two files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--profile", default="quick", help="of `steelyard check`; default: quick")
    parser.add_argument("--results", type=Path, metavar="DIR", help="judge nothing; read the results in this folder")
    parser.add_argument("--to", type=Path, default=HERE, metavar="DIR", help="where the files go; default: docs/")
    asked = parser.parse_args(arguments)
    day = datetime.now(tz=UTC).date().isoformat()
    with tempfile.TemporaryDirectory() as temporary:
        folder = asked.results
        if folder is None:
            judge(Path(temporary), asked.profile)
            folder = Path(temporary) / "results"
        files = sorted(folder.glob("*.json"))
        if not files:
            parser.error(f"no result in {folder}")
        page = str(asked.to.resolve() / "matrix.html")
        names = [f"{folder.name}/{file.name}" for file in files]
        subprocess.run(  # noqa: S603 - our own command; where the run was started, so that it finds the cases
            [*STEELYARD, "report", *names, "--html", page, "--date", day], cwd=folder.parent, check=True
        )
        text = table([result for _, result in read_results(files)], day)
    (asked.to / "matrix.md").write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
