"""The bundled adapters: what `steelyard adapters` says of them, and `check --installed`."""

import ast
import importlib.util
import json

import pytest
from typer.testing import CliRunner

from steelyard.conformance import bundled
from steelyard.conformance.bundled import bundled_adapters, known_entries
from steelyard.conformance.command_line import app
from steelyard.conformance.loading import BUNDLED
from steelyard.conformance.registry import TECHNIQUES
from steelyard.conformance.schemas import violation

RIGHT = "from steelyard.reference import prior_probability_bias\n"
WRONG = (
    RIGHT
    + """
right = prior_probability_bias
def prior_probability_bias(prior):
    return -right(prior)
"""
)


def run(*arguments):
    return CliRunner().invoke(app, list(map(str, arguments)))


def test_every_adapter_offers_techniques_and_says_what_it_adapts():
    """Each file of the folder; each offers a technique, and only techniques that exist are in KNOWN and DIALECTS."""
    found = {adapter.name: adapter for adapter in bundled_adapters()}

    assert set(found) == {file.stem for file in BUNDLED.glob("[!_]*.py")} >= {"torchvision", "mmdet", "kornia"}
    for adapter in found.values():
        assert adapter.techniques, adapter.name
        assert set(adapter.known) <= set(adapter.techniques), adapter.name
        assert (adapter.installed is None) == (importlib.util.find_spec(adapter.name) is None)


def test_known_failures_name_requirements_that_exist():
    """Statically, so that it holds also where the library is not installed; those of a loop one by one."""
    entries = {
        file.stem: list(known_entries(ast.parse(file.read_text(encoding="utf-8")))) for file in BUNDLED.glob("*.py")
    }

    for adapter, known in entries.items():
        for entry in known:
            TECHNIQUES[entry["technique"]].requirement(entry["requirement"])
            assert entry["reason"], adapter
    assert {"GHMC-10", "GHML-10", "GHMR-10"} <= {entry["requirement"] for entry in entries["_mmdet_soft_sampling"]}
    assert len(entries["pytorch_toolbelt"]) == 15


def test_the_table_and_its_json():
    """The same adapters in both."""
    table, document = run("adapters"), json.loads(run("adapters", "--json", "-").stdout)

    assert violation(document, "adapters") == ""
    assert [row["name"] for row in document] == sorted(file.stem for file in BUNDLED.glob("[!_]*.py"))
    for row in document:
        assert row["name"] in table.stdout


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder of adapters in place of the bundled ones; their libraries are modules of the standard library."""
    (tmp_path / "adapters").mkdir()
    monkeypatch.setattr(bundled, "BUNDLED", tmp_path / "adapters")
    monkeypatch.setattr("steelyard.conformance.loading.BUNDLED", tmp_path / "adapters")
    monkeypatch.chdir(tmp_path)

    def write(**texts):
        for name, text in texts.items():
            (tmp_path / "adapters" / f"{name}.py").write_text(text, encoding="utf-8")
        return tmp_path

    return write


OPTIONS = ("--profile", "quick", "--no-isolation", "-t", "prior_probability_bias")


def test_all_installed_libraries_are_judged(folder):
    """Two are there, one is not: two verdicts, a file each, the worst status."""
    place = folder(colorsys=RIGHT, wave=WRONG, no_such_library=RIGHT)

    said = run("check", "--installed", *OPTIONS, "--json", "results", "--cases", "cases")

    assert said.exit_code == 1, said.output
    assert sorted(file.name for file in (place / "results").iterdir()) == ["colorsys.json", "wave.json"]
    verdicts = {
        file.stem: json.loads(file.read_text())["techniques"][0]["verdict"] for file in (place / "results").iterdir()
    }
    assert verdicts == {"colorsys": "conforms", "wave": "deviates"}
    assert list((place / "cases" / "wave").glob("*.json"))
    assert not (place / "cases" / "colorsys").exists()


def test_a_library_that_cannot_be_loaded_keeps_no_other_back(folder):
    """One line with the cause, status 3, and the others are judged."""
    folder(chunk_of_nothing=RIGHT, colorsys="import no_such_module\n" + RIGHT, wave=RIGHT)

    said = run("check", "--installed", *OPTIONS, "--json", "results")

    assert said.exit_code == 3, said.output
    assert "no_such_module" in said.output
    assert "Traceback" not in said.output
    assert "every MUST holds" in said.output


def test_nothing_installed_is_said(folder):
    """Not a pass."""
    folder(no_such_library=RIGHT)

    said = run("check", "--installed", *OPTIONS)

    assert said.exit_code == 2
    assert "no library with a bundled adapter is installed" in said.output.replace("\n", " ")


def test_installed_stands_for_the_target():
    """Neither both nor none."""
    assert run("check", "mylib", "--installed").exit_code == 2
    assert run("check", "--installed", "--junit", "file.xml").exit_code == 2
    assert "expected what to judge" in run("check").output
