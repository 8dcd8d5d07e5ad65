"""A repository of newer packages on each host of a lab: its own ones under a higher version, which the programs tell, too."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from pathlib import Path

from hosts import BINARIES, HOSTS, Hosts

FOLDER = "/srv/newer"
LIST, PREFERENCES = "/etc/apt/sources.list.d/newer.list", "/etc/apt/preferences.d/newer.pref"
CACHE = "/var/cache/apt/archives"
POSTGRES_PROGRAM, HAPROXY_PROGRAM = f"{BINARIES}/postgres", "/usr/sbin/haproxy"
# A program that says which version it is, a server what it would take, too, and does not start.
BROKEN = """\
#!/bin/sh
case " $* " in *" -C "* | *" --version "* | *" -V "* | *" -v "* | *" --describe-config "*) exec "$0-whole" "$@";; esac
echo 'FATAL:  this version does not start' >&2
exit 1
"""


def bumped(version: str) -> str:
    """The version after a program's or a package's: 18.6-3 becomes 18.7-3. It is as long as that one."""
    found = re.match(r"(?:\d+:)?[\d.]*?(\d+)(?=[^\d.]|$)", version)
    assert found, version
    number = str(int(found[1]) + 1)
    assert len(number) == len(found[1]), version
    return f"{version[: found.start(1)]}{number}{version[found.end(1) :]}"


def offer(hosts: Hosts, packages: Iterable[str], *, version: str = "", broken: str = "", where: list[str] = HOSTS) -> None:
    """Every host offers to itself what it has of these packages in the next version, or in `version`, and nothing else. `broken`:
    the program among them that does not start."""
    spec = {
        "packages": list(packages), "version": version, "folder": FOLDER, "list": LIST, "preferences": PREFERENCES,
        "cache": CACHE, "broken": broken, "instead": BROKEN,
    }  # fmt: skip
    program = Path(__file__).with_name("newer_packages_host.py").read_text()
    hosts.on_all(f"python3 - '{json.dumps(spec).replace(chr(39), chr(39) + chr(92) + chr(39) * 2)}'", where, stdin=program)


def withdraw(hosts: Hosts, where: list[str] = HOSTS) -> None:
    """Nothing newer is offered any more, and nothing of it is left."""
    back = f"mv {FOLDER}/gone/*.deb {CACHE}/ 2>/dev/null"
    lists = f"rm -rf {FOLDER} {LIST} {PREFERENCES} /var/lib/apt/lists/*srv_newer_* /var/lib/pgquorum"
    hosts.on_all(f"{back}; {lists}; apt-get -q update >/dev/null 2>&1 || true", where)
