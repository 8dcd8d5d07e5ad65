"""What faults run: scripts on hosts, and commands on the operator's machine."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from clusters import cluster
from test_faults import made

from cluster.errors import ClusterError
from cluster.topology import Host
from day2.faults import FAULTS
from day2.faults.network import FIND_OPERATOR, rules
from day2.faults.power import run_locally
from day2.faults.script import HostScript


def scripts() -> dict[str, HostScript]:
    found = {name: getattr(made(name), "host_script", None) for name in FAULTS}
    return {name: host_script for name, host_script in found.items() if host_script}


@pytest.mark.parametrize(("name", "host_script"), scripts().items())
def test_every_script_is_sh_and_sets_a_timer_before_it_injects(name: str, host_script: HostScript) -> None:
    for script in (host_script.injection, host_script.healing):
        done = subprocess.run(["sh", "-n"], input=script, text=True, capture_output=True, check=False)
        assert done.returncode == 0, done.stderr
    assert ("systemd-run" in host_script.injection) == made(name).needs_healing
    assert host_script.injection.index("set -e") < host_script.injection.rindex(host_script.inject)
    if host_script.heal:
        assert host_script.injection.index("systemd-run") < host_script.injection.rindex(host_script.inject)
        assert host_script.heal in host_script.healing


def test_values_are_quoted() -> None:
    host_script = HostScript('echo "$data"\n', values={"data": "/a b'c; echo $x"})
    done = subprocess.run(["sh"], input=host_script.injection, text=True, capture_output=True, check=True)
    assert done.stdout == "/a b'c; echo $x\n"


@pytest.mark.parametrize("there", ["another's number", "a pipe", "nothing"])
def test_no_process_is_ended_that_a_pid_file_only_claims_to_be_postgresql(tmp_path: Path, there: str) -> None:
    """The file is its user's, and the script is root's."""
    file = tmp_path / "postmaster.pid"
    with subprocess.Popen(["sleep", "60"], cwd=tmp_path) as bystander:
        if there == "a pipe":
            os.mkfifo(file)
        elif there != "nothing":
            file.write_text(f"{bystander.pid}\n{tmp_path}\n")
        script = HostScript(made("postgres-kill").host_script.inject, values={"data": str(tmp_path)})
        done = subprocess.run(["sh"], input=script.injection, text=True, capture_output=True, check=False, timeout=30)
        assert done.returncode != 0
        assert "names no PostgreSQL that runs on it" in done.stderr
        assert bystander.poll() is None
        bystander.kill()


@pytest.mark.parametrize(
    ("connection", "found"),
    [("10.0.0.5 4711 10.0.0.1 2222", "ip 10.0.0.5 2222"), ("fe80::1%eth0 4711 fe80::2%eth0 22", "ip6 fe80::1 22")],
)
def test_the_operators_connection_is_found_through_sudo(connection: str, found: str) -> None:
    script = FIND_OPERATOR + 'echo "$family $operator $port"\n'
    # As sudo does: without the variable, below a shell that has it.
    command = ["sh", "-c", "env -u SSH_CONNECTION sh -s; exit $?"]
    environment = {**os.environ, "SSH_CONNECTION": connection}
    done = subprocess.run(command, input=script, text=True, capture_output=True, check=True, env=environment)
    assert done.stdout.strip() == found


def test_a_partition_never_cuts_the_operator_and_not_the_host_itself() -> None:
    for text in (rules(None), rules(["10.0.0.2", "fd00::2"])):
        for direction, verdict in (("saddr $operator tcp dport", "drop"), ("daddr $operator tcp sport", "drop")):
            chain = next(c for c in text.split("chain ")[1:] if direction in c)
            assert chain.index("lo") < chain.index(direction) < chain.index(verdict)
    assert re.search(r"ip saddr 10\.0\.0\.2 drop\nip6 saddr fd00::2 drop", rules(["10.0.0.2", "fd00::2"]))
    assert rules(None).count("\ndrop\n") == 2


def host() -> Host:
    return cluster().host("db1")


def test_the_operators_command_runs_without_a_shell_and_finds_invoke(tmp_path: Path) -> None:
    out = tmp_path / "out"
    code = (
        "import os,sys,shutil; open(sys.argv[1],'w').write(repr((sys.argv[2:], os.environ['PATH'], os.getsid(0)==os.getpid())))"
    )
    run_locally("power_off", host(), f"""{sys.executable} -c "{code}" {out} 'a b' '$HOME;'""")
    words, path, own_session = eval(out.read_text())
    assert words == ["a b", "$HOME;"]
    assert path.startswith(str(Path(sys.executable).parent))
    assert own_session


@pytest.mark.parametrize(
    ("command", "said"),
    [
        ("false", "power_off of db1 .`false`. failed with exit code 1"),
        ("sh -c 'echo no such machine >&2; exit 3'", "exit code 3: no such machine"),
        ("nonesuch", "can't be run"),
        ("unbalanced 'quote", "can't be run"),
    ],
)
def test_a_command_that_fails_is_told_by_its_setting(command: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said):
        run_locally("power_off", host(), command)
