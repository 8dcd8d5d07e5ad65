"""What a deploy's connections and its questions to etcd do before anything is changed."""

from __future__ import annotations

import os
import socket
import stat
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from operations.connections import tune
from operations.etcd import MembershipFact

LISTED = '{"members":[{"ID":1,"name":"db1","peerURLs":["https://db1:2380"],"clientURLs":["https://db1:2379"]}]}'


def connected(sock: Any) -> SimpleNamespace:
    """A host of pyinfra's whose SSH goes over `sock`."""
    return SimpleNamespace(connector=SimpleNamespace(client=SimpleNamespace(get_transport=lambda: SimpleNamespace(sock=sock))))


def test_a_connection_is_prompt_and_watched() -> None:
    with socket.socket() as direct:
        by_way_of_another = object()  # a channel of another connection is no socket
        unconnected = SimpleNamespace(connector=SimpleNamespace(client=None))
        hosts = [connected(direct), connected(by_way_of_another), unconnected, SimpleNamespace(connector=SimpleNamespace())]
        tune(SimpleNamespace(active_hosts=hosts, add_callback_handler=lambda handler: None))  # type: ignore[arg-type]
        assert direct.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
        assert direct.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)


@pytest.mark.parametrize(
    ("data", "answering", "asked"), [(False, (), False), (False, ("db3",), True), (True, ("db1", "db2", "db3"), False)]
)
def test_etcd_is_asked_for_its_members_by_a_host_without_data_and_where_one_answers(
    tmp_path: Path, data: bool, answering: tuple[str, ...], asked: bool
) -> None:
    if data:
        (tmp_path / "data/member").mkdir(parents=True)
    patterns = "".join(f" *//{name}:2379/version) exit 0;;" for name in answering)
    programs = {"curl": f'case "$*" in{patterns} *) exit 7;; esac', "etcdctl": f"touch {tmp_path}/asked; echo '{LISTED}'"}
    for name, script in programs.items():
        program = tmp_path / name
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(stat.S_IRWXU)
    fact = MembershipFact()
    command = fact.command(f"{tmp_path}/data", "https://db1:2379,https://db2:2379,https://db3:2379")
    done = subprocess.run(
        command, shell=True, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, capture_output=True, text=True, check=True
    )
    membership = fact.process(done.stdout.splitlines())
    assert (tmp_path / "asked").exists() == asked
    assert (membership.members is not None, membership.has_data) == (asked, data)
