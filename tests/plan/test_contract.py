"""What a deploy puts on hosts is what the other layers know of: who may dial whom, and which certificates are watched."""

from __future__ import annotations

import re
from pathlib import PurePath

from conftest import Rehearsal, Stage

from cluster.connections import reached_from
from health.questions import questions


def test_no_host_is_told_of_a_port_that_it_is_not_known_to_dial(first_deploy: Rehearsal, stage: Stage) -> None:
    """In the files that it gets, and in the commands that it is given; its own ports aside."""
    of = stage.cluster()
    found: set[int] = set()
    for host in of.hosts:
        known = {(target.address, port) for target, port in reached_from(of, host)}
        for command in (command for command in first_deploy.commands if command.host == host.name):
            told = {
                (address, int(port)) for address, port in re.findall(r"(10\.0\.0\.\d+):(\d+)", command.command + command.stdin)
            }
            assert {(address, port) for address, port in told if address != host.address} <= known, command
            found |= {port for _, port in told}
    assert found == {2379, 2380, 5432, 8008}


def test_every_certificate_that_a_host_gets_is_watched_for_its_end(first_deploy: Rehearsal, stage: Stage) -> None:
    of = stage.cluster()
    for host in of.hosts:
        commands = [command.command for command in first_deploy.commands if command.host == host.name]
        written = {PurePath(match[1]) for text in commands if (match := re.search(r"t=\$\(mktemp (\S+)\.XXXXXX", text))}
        directories = {str(path.parent) for path in written if path.suffix in (".crt", ".pem")}
        assert directories == set(questions(of, host)["certificates"]["directories"]), host.name
