"""Every rule has a stable id, and the catalogue, the code and the documentation have the same ones."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from repository import ROOT

from health.catalogue import CATALOGUE, SUBJECTS
from health.deployed import ACCEPTED, DEMANDED
from health.finding import finding

CODE = [path for part in ("health", "day2", "operations") for path in sorted((ROOT / part).rglob("*.py"))]
DECLARED = ROOT / "health/catalogue.py"


def constants(path: Path) -> set[str]:
    """The strings in a file that look like an id."""
    nodes = ast.walk(ast.parse(path.read_text()))
    strings = {node.value for node in nodes if isinstance(node, ast.Constant) and isinstance(node.value, str)}
    return {text for text in strings if re.fullmatch(r"[a-z]+\.[a-z-]+", text)}


def first_arguments(path: Path, function: str) -> Iterator[str]:
    """The strings that `function` is called with first."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == function and node.args:
            first = node.args[0]
            if isinstance(first, ast.Constant) and isinstance(first.value, str):
                yield first.value


def test_an_id_is_a_subject_and_a_condition_in_lower_case() -> None:
    assert [rule for rule in CATALOGUE if not re.fullmatch(r"[a-z]+\.[a-z]+(-[a-z]+)*", rule)] == []
    assert all(condition.level in ("warning", "problem") and condition.meaning for condition in CATALOGUE.values())


def test_a_finding_in_words_names_its_rule_everywhere() -> None:
    """But for tables and screens, who puts one in words uses its own (`Finding.__str__`)."""
    assert str(finding("disks.full", "db1", "no room")) == "db1: no room (disks.full)"
    own = ROOT / "health/finding.py"
    assert [path for path in CODE if path != own and re.search(r"\.about\}: \{\w+\.text", path.read_text())] == []


def test_every_id_in_the_code_is_in_the_catalogue() -> None:
    found = {rule for path in CODE for rule in first_arguments(path, "finding")}
    assert len(found) > 20 and found <= set(CATALOGUE)


def test_every_id_in_the_catalogue_is_in_the_code() -> None:
    assert set(CATALOGUE) - {rule for path in CODE if path != DECLARED for rule in constants(path)} == set()


def test_what_is_well_names_a_subject_of_the_catalogue() -> None:
    found = {subject for path in CODE for subject in first_arguments(path, "ok")}
    assert len(found) > 5 and found <= SUBJECTS


def test_the_documentation_has_every_id_with_its_level_and_meaning() -> None:
    rows = re.findall(r"^\| `(\S+)` \| (\w+) \| (.+) \|$", (ROOT / "docs/rules.md").read_text(), re.MULTILINE)
    assert rows == [(rule, condition.level, condition.meaning) for rule, condition in CATALOGUE.items()]


def test_the_documentation_has_what_a_deploy_asks_for_and_what_it_accepts() -> None:
    text = (ROOT / "docs/rules.md").read_text()
    paragraph = next(part for part in text.split("\n\n") if part.startswith("A deploy waits"))
    assert set(re.findall(r"`(\w+\.[\w-]+)`", paragraph)) == DEMANDED | ACCEPTED
    assert set(CATALOGUE) >= DEMANDED | ACCEPTED
