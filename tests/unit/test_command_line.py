"""What is wrong with a pyinfra command line is told before the first connection."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from cluster.command_line import refusals

INVENTORY = """
etcd = postgres = [(f'db{n}', {'address': f'10.0.0.{n}'}) for n in (1, 2, 3)]
haproxy = [('proxy1', {'address': '10.0.0.9'})]
"""
SETTINGS = "cluster_name = 'shop'\nclient_networks = ['10.0.0.0/24']\n"


@pytest.fixture(autouse=True)
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "group_data").mkdir()
    (tmp_path / "inventory.py").write_text(INVENTORY)
    (tmp_path / "group_data/all.py").write_text(SETTINGS)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def deploy(**parameters: Any) -> list[str]:
    return refusals({"inventory": "inventory.py", "operations": ("deploy.py",)} | parameters)


@pytest.mark.parametrize(
    "parameters",
    [
        {},
        {"limit": ("db1",)},
        {"limit": ("db*",), "exclude": ("proxy1",)},
        {"limit": ("postgres", "haproxy")},
        {"limit": ("all",)},
        {"data": ("durability=synchronous",)},
        {"dry": True, "diff": True, "yes": False, "no_wait": False, "serial": False},
        {"operations": ("./deploy.py",)},
    ],
)
def test_what_may_run(parameters: dict[str, Any]) -> None:
    assert deploy(**parameters) == []


@pytest.mark.parametrize(
    ("parameters", "sentences"),
    [
        ({"limit": ("db4",)}, ["--limit db4: no host or group is called that (did you mean 'db3'?)"]),
        ({"limit": ("nobody",)}, ["--limit nobody: no host or group is called that"]),
        ({"limit": ("db1", "pg*", "zz")}, [f"--limit {p}: no host or group is called that" for p in ("pg*", "zz")]),
        ({"exclude": ("proxy9",)}, ["--exclude proxy9: no host or group is called that (did you mean 'proxy1'?)"]),
        ({"no_wait": True}, ["--no-wait: every phase of this deploy needs the one before it on all hosts"]),
        ({"dry": True, "yes": True}, ["--dry with -y (or PYINFRA_YES): with -y pyinfra looks for no changes before it runs"]),
        ({"serial": True}, ["--serial: every phase of this deploy needs the one before it on all hosts"]),
        ({"data": ("durability=maybe",)}, ["durability = 'maybe': should be 'quorum', 'all', 'synchronous' or 'asynchronous'"]),
        ({"data": ("postgres_port=70000",)}, ["postgres_port = 70000: should be at most 65535"]),
        ({"inventory": "invntory.py"}, ["inventory = 'invntory.py': there is no such file"]),
    ],
)
def test_what_may_not(parameters: dict[str, Any], sentences: list[str]) -> None:
    found = deploy(**parameters)
    assert len(found) == len(sentences)
    assert all(line.startswith(sentence) for line, sentence in zip(found, sentences, strict=True)), found


def test_everything_is_told_at_once(project: Path) -> None:
    (project / "group_data/all.py").write_text(SETTINGS + "durability = 1\nwibble = 2\n")
    found = deploy(serial=True)
    assert len(found) == 3
    assert all(any(word in line for line in found) for word in ("--serial", "durability", "wibble"))


@pytest.mark.parametrize(
    "operations", [("exec", "--", "uptime"), ("fact", "server.Os"), ("debug-inventory",), ("server.shell", "ls")]
)
def test_other_uses_of_pyinfra_are_not_judged(project: Path, operations: tuple[str, ...]) -> None:
    (project / "group_data/all.py").write_text("wibble = 2\n")
    assert deploy(operations=operations, serial=True, limit=("nobody",)) == []


def test_group_data_from_elsewhere_is_read_as_pyinfra_reads_it(project: Path) -> None:
    """`pyinfra --group-data DIR` puts more settings over the others: what is judged must be what is deployed."""
    (project / "more").mkdir()
    (project / "more/all.py").write_text("durability = 'maybe'\n")
    assert deploy(group_data=("more",)) != []


def test_without_a_terminal_to_ask_on_it_must_be_told_to_go_on(tmp_path: Path) -> None:
    asking = {"operations": ("deploy.py",), "inventory": str(tmp_path / "none.py")}
    assert any("no terminal" in line for line in refusals(asking, terminal=False))
    for answer in ("yes", "dry"):
        assert not any("no terminal" in line for line in refusals(asking | {answer: True}, terminal=False))
