"""What programs on hosts may rely on: Python 3.10, its standard library, and of ours what is put or sent there with them."""

from __future__ import annotations

import ast
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from repository import ROOT

from agents.sent import ALONG, BESIDES

OLDEST = (3, 10)
INSTALLED = sorted((ROOT / "agents").glob("*.py"))
SENT = sorted((ROOT / "agents/sent").glob("*.py"))
PARTS = sorted((ROOT / "agents/parts").glob("*.py"))
CLUSTER = (
    "cluster.fencing",
    "cluster.quorum",
    "cluster.slots",
    "cluster.drill",
    "cluster.archive",
    "cluster.timelines",
)  # operations/agents.py puts them there
FILES = [*INSTALLED, *SENT, *(ROOT / f"{module.replace('.', '/')}.py" for module in CLUSTER)]
# What mypy does not see: a function that reads more since 3.11, and patterns that were an error (atomic groups, possessive
# quantifiers). Nor does it see what is asked of a value of type Any.
READS_MORE_NOW = "fromisoformat"
NEW_IN_PATTERNS = re.compile(r"\(\?>|[*+?}]\+")


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def modules(tree: ast.AST) -> Iterator[str]:
    """What is imported, anywhere in a file, with each name that is imported from a module of ours."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0 and node.module, "it lies in another package on a host"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


@pytest.mark.parametrize("path", [*FILES, *PARTS], ids=name)
def test_what_runs_on_hosts_is_written_for_the_oldest_python_there(path: Path) -> None:
    """Its syntax, and what mypy can't tell."""
    tree = ast.parse(path.read_text(), feature_version=OLDEST)
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute):
            assert node.attr != READS_MORE_NOW, f"line {node.lineno}: in 3.10 it reads only what isoformat writes"
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and ast.unparse(node.func.value) == "re":
            texts = [part.value for part in ast.walk(node) if isinstance(part, ast.Constant) and isinstance(part.value, str)]
            assert not any(NEW_IN_PATTERNS.search(text) for text in texts), f"line {node.lineno}"


def test_what_runs_on_hosts_uses_nothing_that_the_oldest_python_there_lacks(tmp_path: Path) -> None:
    """mypy knows for each name of the standard library since when it is there."""
    done = mypy(tmp_path, "--package", "agents", *(f"--module={module}" for module in CLUSTER))
    assert done.returncode == 0, done.stdout


def test_that_would_be_seen(tmp_path: Path) -> None:
    new = "import tomllib\nfrom datetime import UTC\nfrom enum import StrEnum\nfrom typing import Self\nraise ExceptionGroup\n"
    (tmp_path / "new.py").write_text(new)
    errors = mypy(tmp_path, str(tmp_path / "new.py")).stdout
    assert [f"new.py:{line}: error" in errors for line in range(1, 6)] == [True] * 5, errors


def oldest_python() -> str | None:
    """A Python of that version on this machine: in the path, or where pyenv and uv keep theirs."""
    called = f"python{OLDEST[0]}.{OLDEST[1]}"
    kept = [Path.home() / ".pyenv/versions", Path.home() / ".local/share/uv/python"]
    found = [shutil.which(called), *(str(path) for place in kept for path in sorted(place.glob(f"*3.10.*/bin/{called}")))]
    tried = [one for one in found if one and subprocess.run([one, "-c", ""], capture_output=True, check=False).returncode == 0]
    return tried[0] if tried else None  # pyenv puts a name into the path that fails


IMPORT = """
import importlib, sys
assert sys.version_info[:2] == {version}, sys.version
sys.path.insert(0, {root!r})
for module in sys.argv[1:]:
    importlib.import_module(module)
print("imported", len(sys.argv[1:]))
"""


def test_the_oldest_python_itself_imports_what_runs_on_hosts() -> None:
    python = oldest_python()
    if python is None:
        pytest.skip("NOT RUN WITH THE OLDEST PYTHON OF HOSTS: no python3.10 is here (`uv python install 3.10` brings one)")
    modules = [name(path.with_suffix("")).replace("/", ".") for path in (*FILES, *PARTS) if path.stem != "__main__"]
    script = IMPORT.format(version=OLDEST, root=str(ROOT))
    done = subprocess.run([python, "-I", "-B", "-c", script, *modules], capture_output=True, text=True, check=False)
    assert done.stdout == f"imported {len(modules)}\n", done.stderr


def mypy(cache: Path, *what: str) -> subprocess.CompletedProcess[str]:
    version = ".".join(map(str, OLDEST))
    command = [sys.executable, "-m", "mypy", "--python-version", version, "--cache-dir", str(cache / "mypy"), *what]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("path", FILES, ids=name)
def test_a_program_on_a_host_imports_what_is_there(path: Path) -> None:
    along = {f"agents.{module}" for module in (*ALONG, *BESIDES.get(path.stem, ()))}
    there = along if path in SENT else {*CLUSTER, *(f"agents.{file.stem}" for file in INSTALLED)}
    for module in modules(ast.parse(path.read_text())):
        first = module.partition(".")[0]
        ours = first in ("agents", "cluster")
        assert ours or first in sys.stdlib_module_names, module
        assert not ours or {module, module.rpartition(".")[0]} & there, module


@pytest.mark.parametrize("program", BESIDES)
def test_what_is_sent_along_needs_nothing_of_ours_but_what_was_sent_before(program: str) -> None:
    there: set[str] = set()
    for name in (*ALONG, *BESIDES[program]):
        imported = {m for m in modules(ast.parse(where(name).read_text())) if m.partition(".")[0] in ("agents", "cluster")}
        assert all({module, module.rpartition(".")[0]} & there for module in imported), (name, imported)
        there.add(f"agents.{name}")


def test_every_part_of_an_answer_is_sent_along() -> None:
    assert {where(name) for name in BESIDES["collector"]} >= set(PARTS)


def where(module: str) -> Path:
    path = ROOT / "agents" / module.replace(".", "/")
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
