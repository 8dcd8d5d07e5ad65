"""How HAProxy is reloaded: the script that systemd calls, with programs that only note how they were called."""

from __future__ import annotations

import os
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from clusters import cluster

from cluster import paths
from operations.managed import render

SAVED = """\
1
# be_id be_name srv_id srv_name
3 write 1 db1 10.0.0.1 2 0 1
3 write 2 db2 10.0.0.2 0 0 1
4 read 2 db2 10.0.0.2 2 0 1
"""
ANSWERS = {"show servers state": SAVED, "reload": "Success=1\n--\nLoading success\n"}


@dataclass
class Host:
    """A directory with HAProxy's files and stand-ins for the programs."""

    folder: Path

    def program(self, name: str, script: str) -> None:
        file = self.folder / name
        file.write_text(f'#!/bin/sh\necho "{name} $*" >>{self.folder}/calls\n{script}\n')
        file.chmod(0o755)

    def answers(self, said: dict[str, str]) -> None:
        """What comes back from HAProxy's sockets."""
        for question, answer in said.items():
            (self.folder / question).write_text(answer)
        answer = f"{self.folder}/$question"
        note = f'read -r question; echo "$question" >>{self.folder}/asked'
        self.program("socat", f'{note}; [ -e "{answer}" ] && cat "{answer}"')

    def reload(self) -> int:
        return self.begin().wait(60)

    def begin(self, tries: int = 200) -> subprocess.Popen[bytes]:
        script = render("haproxy/reload-haproxy.sh.j2")
        for path in (paths.HAPROXY_STATES, paths.HAPROXY_DOWN, paths.HOLD_NOTE):
            script = script.replace(path, str(self.folder / Path(path).name))
        assert "-lt 200 " in script
        script = script.replace("-lt 200 ", f"-lt {tries} ")
        environment = {"PATH": f"{self.folder}:{os.environ['PATH']}", "MAINPID": "1234567"}
        return subprocess.Popen(["sh", "-c", script], env=environment)

    @property
    def calls(self) -> list[str]:
        return (self.folder / "calls").read_text().splitlines()

    @property
    def asked(self) -> list[str]:
        """What HAProxy was asked, in order."""
        return (self.folder / "asked").read_text().splitlines()

    @property
    def states(self) -> str:
        return (self.folder / "server-state").read_text()


@pytest.fixture
def host(tmp_path: Path) -> Host:
    host = Host(tmp_path)
    (tmp_path / "servers-down").write_text(render("haproxy/servers-down.j2", cluster=cluster()))
    (tmp_path / "server-state").write_text("as it was")
    host.program("haproxy", "true")
    host.answers(ANSWERS)
    return host


def test_what_is_known_of_servers_is_kept_and_one_that_is_new_is_down(host: Host) -> None:
    assert host.reload() == 0
    rows = [line.split() for line in host.states.splitlines()]
    assert rows[0] == ["1"]
    states = {(row[1], row[3]): row[5] for row in rows[2:]}
    known = {("write", "db1"): "2", ("write", "db2"): "0", ("read", "db2"): "2"}
    assert states == dict.fromkeys(((be, f"db{n}") for be in ("write", "read") for n in (1, 2, 3)), "0") | known


def test_a_configuration_that_is_refused_changes_nothing(host: Host) -> None:
    host.program("haproxy", "false")
    assert host.reload() != 0
    assert len(host.calls) == 1
    assert host.states == "as it was"


@pytest.mark.parametrize("said", ["", None])
def test_without_a_word_about_the_servers_it_does_not_begin_blind(host: Host, said: str | None) -> None:
    if said is None:
        (host.folder / "show servers state").unlink()
    else:
        (host.folder / "show servers state").write_text(said)
    assert host.reload() != 0
    assert host.states == "as it was"


def test_a_new_process_that_does_not_take_over_is_a_failure(host: Host) -> None:
    (host.folder / "reload").write_text("Success=0\n")
    assert host.reload() != 0


def test_one_that_gives_no_answer_is_reloaded_by_a_signal(host: Host) -> None:
    host.program("haproxy", '[ "$1" != -cc ]')
    text = render("haproxy/reload-haproxy.sh.j2")
    assert 'kill -USR2 "$MAINPID"' in text.partition("else")[2]
    assert host.reload() != 0  # there is no such process to be signalled
    assert [call for call in host.calls if call.startswith("socat")] == [f"socat -t 2 stdio {paths.HAPROXY_SOCKET}"] * 2


def test_it_waits_until_clients_that_wait_are_let_go(host: Host) -> None:
    note = host.folder / Path(paths.HOLD_NOTE).name
    note.write_text("somebody")
    running = host.begin()
    try:
        with pytest.raises(subprocess.TimeoutExpired):
            running.wait(1)
        assert [call for call in host.calls if not call.endswith(" -c -q")] == []
    finally:
        note.unlink()
    assert running.wait(60) == 0
    assert any("reload" in call for call in host.asked)


def stat(limit: int) -> str:
    """What HAProxy tells of its frontends, of which the one for writes takes so many connections."""
    columns = ["# pxname,svname,qcur,qmax,scur,smax,slim,stot"]
    rows = [f"{name},FRONTEND,,,1,1,{limit},9" for name, limit in (("writes", limit), ("reads", 1000), ("statistics", 20))]
    return "\n".join([*columns, *rows, "write,db1,0,0,0,0,0,9"]) + "\n"


def test_while_a_frontend_is_held_by_hand_it_waits_too_and_is_refused_in_the_end(host: Host) -> None:
    (host.folder / "show stat").write_text(stat(0))
    assert host.begin(tries=2).wait(60) == 1
    assert set(host.asked) == {"show stat"} and host.states == "as it was"
    (host.folder / "show stat").write_text(stat(1000))
    assert host.reload() == 0


def test_every_server_of_both_backends_is_down_at_a_start() -> None:
    first, *rows = render("haproxy/servers-down.j2", cluster=cluster()).splitlines()
    assert first == "1"  # the version of the format: without it HAProxy takes nothing of it, and every server is up
    assert {(row.split()[1], row.split()[3]) for row in rows} == {(be, f"db{n}") for be in ("write", "read") for n in (1, 2, 3)}
    assert {row.split()[5] for row in rows} == {"0"}


def test_its_configuration_takes_all_versions() -> None:
    text = render("haproxy/haproxy.cfg.j2", cluster=cluster())
    conditional = ".if version_atleast(3.1)\n    default-server init-state down\n.endif\n"
    assert text.count(conditional) == 2
    assert text.count("init-state") == 2
    for backend in ("backend write", "backend read"):
        _, _, rest = text.partition(backend)
        assert rest.index(conditional) < rest.index("    server db1")
