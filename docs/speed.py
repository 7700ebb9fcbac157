"""Measures, and writes what was measured into docs/speed.md: python docs/speed.py.

Runs `steelyard bench --growth` into docs/bench.json and docs/figures/bench.svg, then makes the page's tables from
the JSON. With --tables-only, only the latter. Whatever else is given goes to `steelyard bench`.
"""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
ROOT = HERE.parent
PAGE, DOCUMENT, PICTURE = HERE / "speed.md", HERE / "bench.json", HERE / "figures" / "bench.svg"
SHIMS = ROOT / "conformance" / "tests" / "shims"


def main(arguments: list[str]) -> None:
    """Measure unless told not to, and rewrite the page."""
    if arguments != ["--tables-only"]:
        measure(arguments)
    document = json.loads(DOCUMENT.read_text(encoding="utf-8"))
    PAGE.write_text(with_tables(PAGE.read_text(encoding="utf-8"), document), encoding="utf-8")


def measure(arguments: list[str]) -> None:
    """One run, by the tree that this file stands in, beside the libraries of the tests."""
    import os  # noqa: PLC0415 - only here

    rooms = [str(ROOT / room) for room in ("reference", "impl", "conformance")]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([*rooms, str(SHIMS)])}
    command = [sys.executable, "-m", "steelyard.conformance", "bench", "--growth"]
    files = ["--json", str(DOCUMENT), "--plot", str(PICTURE)]
    subprocess.run([*command, *files, *arguments], check=True, env=environment)  # noqa: S603 - our own command


def with_tables(page: str, document: dict[str, Any]) -> str:
    """The page, each part between `<!-- table NAME -->` and `<!-- end -->` made anew."""
    for name, table in TABLES.items():
        start, end = f"<!-- table {name} -->\n", "<!-- end -->"
        before, found, rest = page.partition(start)
        if not found:
            raise ValueError(f"{PAGE.name}: no line {start.strip()}")
        _, _, after = rest.partition(end)
        page = before + start + table(document) + end + after
    return page


def machine(document: dict[str, Any]) -> str:
    """What it was measured on and with."""
    environment, versions = document["environment"], document["versions"]
    libraries = ", ".join(f"{name} {version}" for name, version in sorted(versions.items()) if version)
    return (
        f"{environment['processor']} ({environment['vector_instructions']}), {environment['threads']} threads of"
        f" {environment['cores']} cores, {environment['system']}, Python {environment['python']}; {libraries}."
        f" {document['seconds']:.0f} s in all.\n"
    )


def ratios(document: dict[str, Any]) -> str:
    """Ours against the fastest peer, with the goals and what the floors allow."""
    lines = [
        "| technique | size | fastest peer | eager | goal | limit | compiled | goal | limit | memory | limit | by exp |"
    ]
    lines.append("| --- | --- | --- |" + " ---: |" * 9)
    for case in document["cases"]:
        summary, goal = case["summary"], case["goal"] or {"eager": None, "compiled": None}
        exp = next((row["by_compiled"] for row in case["rows"] if row["contender"] == "exp"), None)
        cells = [
            case["technique"],
            case["size"],
            summary["fastest_peer"] or "",
            _times(summary["eager"]),
            _times(goal["eager"]),
            _times(summary["eager_limit"]),
            _times(summary["compiled"]),
            _times(goal["compiled"]),
            _times(summary["compiled_limit"]),
            _times(summary["memory"]),
            _times(summary["memory_limit"]),
            _times(1.0 / exp["ratio"] if exp else None),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def mean(document: dict[str, Any]) -> str:
    """Over all techniques and sizes with a peer."""
    found = document["geometric_mean"]
    return (
        f"Geometric mean over {found['cases']} cases with a library that gives the same: {_times(found['eager'])} times"
        f" as fast eager, {_times(found['compiled'])} compiled.\n"
    )


def floors(document: dict[str, Any]) -> str:
    """What each limit is made of."""
    lines = ["| technique and size | floor | made of | median, ms | by ours, eager |"]
    lines.append("| --- | --- | --- | ---: | ---: |")
    for case in document["cases"]:
        for row in case["rows"]:
            if row["kind"] == "floor":
                median, ratio = row["median_seconds"], row["by_eager"]
                cells = [
                    f"{case['technique']}, {case['size']}",
                    row["contender"].removeprefix("floor, "),
                    row["what"],
                    "" if median is None else f"{1e3 * median:.2f}",
                    "" if ratio is None else f"{ratio['ratio']:.2f}",
                ]
                lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def rows(document: dict[str, Any]) -> str:
    """Every contender."""
    lines = ["| technique and size | contender | median, ms | by ours, eager | extra memory, MiB | first call, s | |"]
    lines.append("| --- | --- | ---: | ---: | ---: | ---: | --- |")
    for case in document["cases"]:
        for row in case["rows"]:
            median, memory = row["median_seconds"], row["peak_extra_bytes"]
            ratio = row["by_eager"]
            cells = [
                f"{case['technique']}, {case['size']}",
                row["contender"],
                "" if median is None else f"{1e3 * median:.2f}",
                "" if ratio is None else "{:.2f} ({:.2f} to {:.2f})".format(ratio["ratio"], *ratio["quartiles"]),
                "" if memory is None else f"{memory / 2**20:.1f}",
                "" if row["first_call_seconds"] is None else f"{row['first_call_seconds']:.2f}",
                row["message"] or row["departs"],
            ]
            lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def growth(document: dict[str, Any]) -> str:
    """Slopes of log time over log size."""
    lines = ["| technique | axis | from | to | slope | at most |", "| --- | --- | ---: | ---: | ---: | ---: |"]
    for curve in document["growth"]:
        sizes = [point["size"] for point in curve["points"] if point["median_seconds"] is not None]
        slope = "not measured" if curve["slope"] is None else f"{curve['slope']:.3f}"
        ends = (f"{min(sizes):,}", f"{max(sizes):,}") if sizes else ("", "")
        lines.append(
            f"| {curve['technique']} | {curve['axis']} | {ends[0]} | {ends[1]} | {slope} | {curve['steepest']} |"
        )
    return "\n".join(lines) + "\n"


def _times(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


TABLES = {"machine": machine, "ratios": ratios, "mean": mean, "floors": floors, "growth": growth, "rows": rows}

if __name__ == "__main__":
    main(sys.argv[1:])
