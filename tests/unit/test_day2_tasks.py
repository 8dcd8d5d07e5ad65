"""The commands: they are listed quickly and explained, and what goes wrong before the first connection is one message."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from clusters import cluster
from invoke.exceptions import Exit
from repository import ROOT

import tasks
from cluster.errors import ClusterError
from cluster.vault import Vault
from cluster.version import own
from day2.commands.declare import SHORT
from day2.ui.console import confirm, console

INVENTORY = """
etcd = postgres = [(f'db{n}', {'address': f'10.0.0.{n}'}) for n in (1, 2, 3)]
haproxy = [('proxy1', {'address': '10.0.0.9'})]
"""


def invoke(*words: str, at: Path = ROOT) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "invoke", "--search-root", str(ROOT), *words]
    return subprocess.run(command, cwd=at, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    (tmp_path / "group_data").mkdir()
    (tmp_path / "inventory.py").write_text(INVENTORY)
    (tmp_path / "group_data/all.py").write_text("cluster_name = 'shop'\nclient_networks = ['10.0.0.0/24']\n")
    return tmp_path


def test_every_command_is_listed_and_explained() -> None:
    listed = invoke("--list")
    names = {"init", "status", "failover-test", "dsn", "psql", "secrets", "lab.up", "lab.off", "lab.ssh"}
    assert all(f"  {name} " in listed.stdout for name in names)
    assert listed.returncode == 0


@pytest.mark.parametrize("name", ["host.remove", "lab.off"])
def test_help_is_no_value_of_an_argument(name: str, project: Path) -> None:
    run = invoke(name, "--help", at=project)
    assert run.stdout.startswith("Usage: ") and name in run.stdout
    assert run.returncode == 0


def test_every_option_is_explained_and_few_are_short() -> None:
    manual = (ROOT / "docs/commands.md").read_text()
    for name in tasks.namespace.task_names:
        assert f"`{name}" in manual, name
        for option in tasks.namespace[name].get_arguments():
            long, *short = option.names
            assert option.help, f"{name} --{long}"
            assert option.positional or f"`--{long}" in manual, f"{name} --{long}"
            assert short == list(SHORT.get(long, ())), f"{name} {option.names}"
            assert long != "json" or option.kind is bool, name


def test_what_is_no_number_is_refused_by_the_name_of_its_option() -> None:
    asked = 0
    for name in tasks.namespace.task_names:
        for option in tasks.namespace[name].get_arguments():
            if option.kind not in (str, bool, list):
                asked += 1
                with pytest.raises(Exit) as refused:
                    option.set_value("x")
                right = {int: "a whole number", float: "a number"}[option.kind]
                assert (refused.value.message, refused.value.code) == (f"--{option.name} 'x': should be {right}", 2), name
                option.set_value("7")
                assert option.value == 7
    assert asked > 10


def test_what_is_no_number_ends_no_command_in_a_traceback(project: Path) -> None:
    done = invoke("logs", "--lines", "x", at=project)
    assert (done.returncode, done.stdout, done.stderr) == (2, "", "--lines 'x': should be a whole number\n")
    assert "--lines=INT" in invoke("logs", "--help", at=project).stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("failover-test", "--soak", "0"), "--soak 0: should be minutes, more than 0 and at most 1440"),
        (("failover-test", "--repeat", "0"), "--repeat 0: should be from 1 to 1000"),
        (("failover-test", "--writers", "0"), "--writers 0: should be from 1 to 100"),
        (("failover-test", "--seed", "0"), "--seed: only --soak chooses at random"),
        (("switchover", "--writers", "0"), "--writers 0: should be from 1 to 100"),
        (("switchover", "--patience", "0"), "--patience 0: should be from 1 to 15"),
        (("lab.up", "--databases", "0"), "1 to"),
    ],
)
def test_nought_is_a_number_and_not_nothing(project: Path, words: tuple[str, ...], said: str) -> None:
    Vault(cluster(secrets_directory=str(project / "secrets")), {}).save()
    done = invoke(*words, at=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert said in done.stderr and "Traceback" not in done.stderr


@pytest.mark.parametrize("words", [("-y",), ("--yes",)])
def test_both_ways_to_say_yes(project: Path, words: tuple[str, ...]) -> None:
    assert "deploy.py" in invoke("switchover", *words, at=project).stderr  # nothing is deployed yet: it got that far


def test_listing_loads_none_of_the_heavy_packages_and_no_body_of_a_command() -> None:
    code = "import sys, tasks; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert not {"fabric", "jinja2", "lab", "paramiko", "psycopg", "pydantic", "rich"} & set(loaded)
    rooms = {path.parent.name for path in (ROOT / "day2/commands").glob("*/__init__.py")}
    ours = {name for name in loaded if name.startswith("day2.")}
    assert ours == {"day2.commands", "day2.commands.declare", *(f"day2.commands.{room}" for room in rooms)}


def test_every_command_that_is_declared_is_listed() -> None:
    rooms = (ROOT / "day2/commands").glob("*/__init__.py")
    declared = [line for room in rooms for line in room.read_text().splitlines() if line.startswith("@command(")]
    assert len(declared) == len(tasks.namespace.task_names)


@pytest.mark.parametrize("words", [("status",), ("failover-test", "--yes"), ("dsn",), ("secrets", "--name", "probe")])
def test_a_mistake_in_the_settings_is_told_as_one(project: Path, words: tuple[str, ...]) -> None:
    (project / "group_data/all.py").write_text("cluster_name = 'Shop'\nclient_networks = ['10.0.0.0/24']\n")
    done = invoke(*words, at=project)
    assert done.returncode == 2
    assert "cluster_name = 'Shop'" in done.stderr
    assert "Traceback" not in done.stderr and done.stdout == ""


@pytest.mark.parametrize("words", [("failover-test", "--yes"), ("secrets", "--name", "probe"), ("psql",)])
def test_before_the_first_deploy(project: Path, words: tuple[str, ...], monkeypatch: pytest.MonkeyPatch) -> None:
    (project / "psql").touch(0o755)  # this machine need not have one
    monkeypatch.setenv("PATH", f"{project}:{os.environ['PATH']}")
    more = "postgres_roles = [{'name': 'app'}]\npostgres_databases = [{'name': 'app', 'owner': 'app'}]\n"
    (project / "group_data/postgres.py").write_text(more)
    done = invoke(*words, at=project)
    assert (done.returncode, done.stdout) == (2, "")
    assert "deploy.py" in done.stderr and "Traceback" not in done.stderr


def test_the_version_is_told_from_anywhere_and_without_an_inventory(tmp_path: Path) -> None:
    done = invoke("version", at=tmp_path)
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{own()}\n", "")


def test_another_inventory(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOKE_INVENTORY", "inventories/none.py")
    done = invoke("status", at=project)
    assert done.returncode == 2
    assert "inventory = 'inventories/none.py': there is no such file" in done.stderr


def test_from_another_directory_it_says_where_it_looks(tmp_path: Path) -> None:
    done = invoke("status", at=tmp_path)
    assert done.returncode == 2
    assert f"there is no such file in {tmp_path}; work from the directory of the checkout" in done.stderr


@pytest.mark.parametrize("option", ["-c", "--command"])
def test_psql_takes_a_command_as_psql_does(option: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("INVOKE_INVENTORY", "nowhere.py")
    done = invoke("psql", option, "select 1")
    assert done.returncode == 2 and "nowhere.py" in done.stderr  # and not nothing at all


@pytest.mark.parametrize("answer", ["", "n", "yess", None])
def test_only_a_yes_is_one_and_not_the_end_of_the_input(
    answer: str | None, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ctrl-D ends it, and leaves the cursor behind the question."""

    def typed() -> str:
        if answer is None:
            raise EOFError
        return answer

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(isatty=lambda: True))
    monkeypatch.setattr("builtins.input", typed)
    with pytest.raises(ClusterError, match=r"^nothing was done$"):
        confirm(console(), yes=False)
    assert capsys.readouterr().out == f"Go on? [y/N] {chr(10) if answer is None else ''}"
