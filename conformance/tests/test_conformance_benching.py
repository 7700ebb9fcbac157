"""`steelyard bench`: its document fits the schema, what is wrong is said, an interrupt keeps what was found."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from steelyard.conformance import benching
from steelyard.conformance.command_line import app
from steelyard.conformance.schemas import violation

TINY = ("-t", "distribution_focal_loss", "--no-compiled", "--rounds", "1", "--threads", "1", "--seconds", "60")


@pytest.fixture
def steelyard(tmp_path, monkeypatch):
    """The command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    runner = CliRunner(env={"COLUMNS": "160", "TERM": "dumb"})
    return lambda *arguments: runner.invoke(app, ["bench", *arguments], catch_exceptions=False)


def test_a_run_fits_the_schema(steelyard):
    """With the picture beside it; the table says what the document says."""
    result = steelyard(*TINY, "--json", "bench.json", "--plot", "bench.svg")

    document = json.loads(Path("bench.json").read_text())
    assert result.exit_code == 0
    assert violation(document, "bench") == ""
    assert document["complete"]
    rows = {row["contender"]: row for row in document["cases"][0]["rows"]}
    assert rows["ours, eager"]["status"] == rows["exp"]["status"] == "measured"
    assert rows["ours, eager"]["peak_extra_bytes"] > 0
    assert f"{1e3 * rows['ours, eager']['median_seconds']:.2f} ms" in result.stdout
    assert "<svg" in Path("bench.svg").read_text()


def test_the_schema_refuses_what_the_command_never_writes(steelyard):
    """A row without its median, and a status that there is not."""
    document = json.loads(steelyard(*TINY, "--json", "-").stdout)

    assert violation(document, "bench") == ""
    document["cases"][0]["rows"][0]["status"] = "skipped"
    assert "skipped" in violation(document, "bench")
    del document["cases"][0]["rows"][0]["status"], document["cases"][0]["rows"][0]["median_seconds"]
    assert "required" in violation(document, "bench")


def test_an_interrupt_leaves_what_was_measured(steelyard, monkeypatch):
    """In the file, marked as not complete, with exit status 130."""
    from steelyard.impl.benchmarks import growth, session

    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "run_growth", interrupted)
    assert growth.run_growth is not interrupted

    result = steelyard(*TINY, "--growth", "--json", "bench.json")

    document = json.loads(Path("bench.json").read_text())
    assert result.exit_code == 130
    assert violation(document, "bench") == ""
    assert not document["complete"]
    assert document["cases"][0]["rows"][0]["status"] == "measured"


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (("-t", "focal"), 2, "technique: expected one of sigmoid_focal_loss, "),
        (("--peer", "nobody"), 2, "peer: expected one of torchvision, "),
        (("--json", "nowhere/bench.json"), 2, "--json: no directory nowhere"),
    ],
)
def test_wrong_usage_is_said_in_one_line(steelyard, arguments, status, message):
    """Before any work."""
    result = steelyard(*arguments)

    assert result.exit_code == status
    assert message in result.stderr


def test_without_torch_it_says_how_to_get_it(steelyard, monkeypatch):
    """The base installation has no PyTorch."""
    for name in [name for name in sys.modules if name.startswith("steelyard.impl")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "torch", None)

    result = steelyard()

    assert result.exit_code == 3
    assert "bench needs torch: pip install 'steelyard[torch]'" in result.stderr


def test_the_benchmark_is_loaded_by_name():
    """The suite never imports the implementation."""
    assert benching.BENCHMARKS == "steelyard.impl.benchmarks"
    assert "steelyard.impl" not in {name for name in vars(benching) if not name.startswith("_")}
