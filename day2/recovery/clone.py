"""A clone of the cluster as it was at a moment, beside it on the host that keeps the backups."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Callable
from typing import Any

from agents.clone import About, document
from cluster import paths
from cluster.components import CLONE_UNIT
from cluster.drill import no_room
from cluster.errors import ClusterError
from cluster.topology import Cluster, Host
from day2.hosts.interrupts import Interrupts
from day2.hosts.ssh import Fleet

from .drill_choice import disk_of

LOOK_SECONDS = 1.0
STOP_SECONDS = DELETE_SECONDS = 3600.0  # a large copy takes its time to go


class Cloning:
    """What is asked of that host. `tell` is called with what goes on there, in words."""

    def __init__(self, fleet: Fleet, cluster: Cluster, host: Host, tell: Callable[[str], None]) -> None:
        self._fleet, self._cluster, self._host, self._tell = fleet, cluster, host, tell
        self.drills = cluster.drill_directory(host)
        self.directory = paths.clone(self.drills)
        self.about: dict[str, Any] = {}  # what there is, once its server answers

    def refuse_second(self) -> None:
        """Raises ClusterError where one is there already."""
        if about := self.there():
            raise ClusterError(
                f"a clone of the cluster as it was at {about['to']} is on {self._host.name}: `invoke backup.clone --remove` first"
            )

    def there(self) -> dict[str, Any] | None:
        """What it is of, and how far it is; None where there is none."""
        look = f"cat {self.directory}/about.json 2>/dev/null || ls -d {self.directory} 2>/dev/null || true"
        said = self._run(self._as_user(look)).strip()
        if not said:
            return None
        try:
            about = json.loads(said)
        except ValueError:  # one whose making was cut off at its very beginning
            about = None
        # The file is that user's, and so may hold anything.
        return about if isinstance(about, dict) and "to" in about else {"to": "an unknown moment"}

    def refuse_without_room(self, size: int) -> None:
        """Raises ClusterError where so many bytes of data find no room."""
        free, disk = disk_of(self._run(f"stat -f -c '%S %b %f %a' {self.drills}"))
        if why := no_room(size, free, disk, "clone"):
            raise ClusterError(f"{self._host.name}: {self.drills}: {why}: make room there")

    def claim(self) -> None:
        """The place is this one's. Raises ClusterError where somebody was quicker."""
        self._run(self._as_user(f"mkdir -m 700 {self.directory}"))

    def begin(self, about: About) -> None:
        """It is being made, and goes on when the connection ends."""
        file = f"{self.directory}/about.json"
        self._run(self._as_user(f"umask 077; cat >{file}.new && mv -f {file}.new {file}"), json.dumps(document(about)))
        self._run(f"systemctl start {CLONE_UNIT}")

    def await_ready(self, interrupts: Interrupts) -> None:
        """Its server answers. Raises ClusterError with the reason where there will be none."""
        told = ""
        while True:
            about = self.there() or {}
            if about.get("problem"):
                raise ClusterError(f"{self._host.name}: there is no clone: {about['problem']}")
            if about.get("ready"):
                self.about = about
                return
            state = self._run(f"systemctl show --property=ActiveState --value {CLONE_UNIT}").strip()
            if state not in ("active", "activating"):
                raise ClusterError(f"{self._host.name}: {CLONE_UNIT} is {state}: `invoke logs --component pgbackrest`")
            line = self._run(f"journalctl --unit={CLONE_UNIT} --lines=1 --output=cat --no-pager").strip()
            if line and line != told:
                told = line
                self._tell(line)
            interrupts.sleep(LOOK_SECONDS)

    def remove(self) -> None:
        """Its server is stopped, and nothing of it is left."""
        self._run(f"systemctl stop {CLONE_UNIT}", seconds=STOP_SECONDS)
        self._run(self._as_user(f"rm -rf {self.directory}"), seconds=DELETE_SECONDS)
        self._run(f"systemctl reset-failed {CLONE_UNIT} 2>/dev/null || true")

    def psql(self, database: str) -> str:
        """The command that looks into it, for the operator's shell."""
        sudo = "" if self._host.settings.ssh_user == "root" else "sudo "
        asked = (
            f"{sudo}runuser -u {self._cluster.backup_user(self._host)} -- psql -h {paths.CLONE_RUNTIME} -U postgres -d {database}"
        )
        about = self._host.settings
        said = {
            "-F": about.ssh_config_file,
            "-i": about.ssh_key,
            "-o": about.ssh_known_hosts_file and f"UserKnownHostsFile={about.ssh_known_hosts_file}",
            "-p": about.ssh_port,
        }
        options = "".join(f" {option} {shlex.quote(str(value))}" for option, value in said.items() if value)
        login = f"{about.ssh_user}@" if about.ssh_user else ""
        return f"ssh -t{options} {login}{about.ssh_hostname or self._host.name} {shlex.quote(asked)}"

    def _as_user(self, script: str) -> str:
        """Where that user may have put a link, root reads and removes nothing with rights of its own."""
        return f"runuser -u {self._cluster.backup_user(self._host)} -- sh -c {shlex.quote(script)}"

    def _run(self, command: str, stdin: str = "", seconds: float = 60) -> str:
        answer = self._fleet.run(self._host.name, command, stdin, seconds)
        if not answer.ok:
            raise ClusterError(f"{self._host.name}: {answer.problem or answer.output.strip() or answer.code}")
        return answer.output


def about_of(to: str, kind: str, value: str, backup: str, repository: str, timeline: int) -> About:
    """What is asked for, begun now."""
    return About(to, kind, value, backup, repository, str(timeline), time.time())
