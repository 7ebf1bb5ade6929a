"""Every name in docs/paper_index.md exists: files, functions, classes, SQL steps, tests."""

import ast
import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "paper_index.md").read_text(encoding="utf-8")
ROWS = [
    [cell.strip() for cell in line.strip("|").split(" | ")]
    for line in PAGE.splitlines()
    if re.match(r"\| (\d+|–) \|", line)
]
EQUATIONS = 19


def names_in(path: Path) -> set[str]:
    """What a file defines: classes, functions, unit tests of a model, macros, steps of a query."""
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".py":
        kinds = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
        return {node.name for node in ast.parse(text).body if isinstance(node, kinds)}
    if path.suffix == ".yml":
        return {test["name"] for test in yaml.safe_load(text).get("unit_tests", [])}
    names = r"^(?:with )?(\w+) as (?:materialized )?\($|^{% macro (\w+)\("
    return {a or b for a, b in re.findall(names, text, flags=re.MULTILINE)}


def missing(reference: str) -> str | None:
    """What is wrong with ``path`` or ``path::name``."""
    path, _, name = reference.partition("::")
    if not (ROOT / path).is_file():
        return f"{reference}: there is no file {path}"
    if name and name not in names_in(ROOT / path):
        return f"{reference}: {path} does not define {name}"
    return None


def test_every_equation_has_its_row_in_order():
    assert [int(row[0]) for row in ROWS if row[0] != "–"] == list(range(1, EQUATIONS + 1))


@pytest.mark.parametrize("row", ROWS, ids=[f"{row[0]} {row[1][:40]}" for row in ROWS])
def test_a_row_names_what_exists(row):
    assert len(row) == 5, "eq., what, code, tests, deviation"
    _, what, code, tests, deviation = row
    assert what and deviation
    referred = {
        column: re.findall(r"`([^`]+)`", text)
        for column, text in (("code", code), ("tests", tests))
    }
    for column, references in referred.items():
        assert references, f"no {column}"
        assert [fault for fault in map(missing, references) if fault] == []
    for test in referred["tests"]:
        path, _, name = test.partition("::")
        is_test = name.startswith("test_") or path.endswith(".yml")
        assert is_test or path.startswith("dbt_project/tests/"), f"{test} is no test"
    assert not any(path.startswith("tests/") for path in referred["code"])


def test_a_name_that_is_not_there_is_found():
    assert "no file nowhere.py" in missing("nowhere.py::f")
    assert "does not define gone" in missing("aigq/text.py::gone")
    assert "does not define clicks_by" in missing(
        "dbt_project/models/labels/label_candidates.yml::clicks_by"
    )
    assert missing("dbt_project/models/labels/label_candidates.sql::misaligned") is None
    assert missing("dbt_project/macros/label_tiers.sql::think_tiers") is None
