"""The lab's hosts and the cluster on them, seen without the tool: by SSH, psql, etcdctl and patronictl."""

from __future__ import annotations

import fcntl
import json
import os
import shlex
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

import psycopg
import pytest
import testinfra

from lab import Addresses, Lab, LabError, LabSpec, packages, state

Answer = TypeVar("Answer")


class Kind(NamedTuple):
    addresses: Addresses
    suite: str
    postgres: int
    backup: bool = False
    proxies: int = 1


# Each process of a parallel run has a lab of its own: one has IPv6, too, and one nothing else; on two Debian 13 runs, on one
# both releases; on one PostgreSQL 17; two have a host for backups, one a second proxy, which join in a test. With
# LAB_SUITE=trixie all of them run that, with LAB_POSTGRES=17 that, with LAB_ADDRESSES=ipv6 they have those alone. A run in one
# process has the plainest.
KINDS = (
    Kind("ipv4", "trixie", 17, backup=True),
    Kind("dual", "forky,trixie", 18),
    Kind("ipv4", "forky", 18, backup=True, proxies=2),
    Kind("ipv6", "trixie", 18),
)
LABS = [
    LabSpec(
        f"test{n}",
        subnet=f"10.77.{16 + n}.0/24",
        addresses=os.environ.get("LAB_ADDRESSES") or kind.addresses,
        suite=os.environ.get("LAB_SUITE") or kind.suite,
        backup=kind.backup,
        proxies=kind.proxies,
    )
    for n, kind in enumerate(KINDS)
]
# The one whose hosts are as people have them (conftest.py), and which of those asks systemd-resolved for names.
ODD_ONE = LABS[1]
MINE = int(os.environ.get("PYTEST_XDIST_WORKER", "gw2").removeprefix("gw"))
SPEC = LABS[MINE]
# Of the releases that a lab is made of, Debian 13 alone has PostgreSQL 17.
POSTGRES = int(os.environ.get("LAB_POSTGRES") or (KINDS[MINE].postgres if SPEC.suite == "trixie" else 18))
# Where all hosts run a stable release, etcd is taken from files; where some do, from a source of packages.
ETCD_FROM_FILES = SPEC.suites in {(suite,) for suite in packages.STABLE}
LOCKS = Path("/run/lock")
# With --keep-lab: the copy of the checkout that a lab is deployed from.
KEPT = Path("/var/tmp/pgquorum-tests") / SPEC.name
BINARIES = f"/usr/lib/postgresql/{POSTGRES}/bin"
DATA = f"/var/lib/postgresql/{POSTGRES}/pgquorum"
# What the tests of the lab itself use.
MACHINES = LabSpec(name="lt", subnet="10.77.2.0/24", databases=1, proxies=1)
DATABASES = [host.name for host in SPEC.hosts if host.kind == "database"]
RESOLVING = DATABASES[-1]
PROXY, *_SECOND = (host.name for host in SPEC.hosts if host.kind == "proxy")
# A second one, once a test has put it into the inventory; None where there is none.
SECOND = next(iter(_SECOND), None)
# Which of the lab's hosts keeps backups, once a test has put it into the inventory; None where there is none.
KEEPER = next((host.name for host in SPEC.hosts if host.kind == "backup"), None)
HOSTS = [*DATABASES, PROXY]
ADDRESS = {host.name: host.address for host in SPEC.hosts}
# The same as it stands in a URL or before a port.
IN_URL = {name: f"[{address}]" if ":" in address else address for name, address in ADDRESS.items()}
# What nftables calls the kind of the addresses.
FAMILY = "ip6" if SPEC.addresses == "ipv6" else "ip"
# Long enough for a slow machine: a limit of patience, not of speed.
PATIENCE = 120


def wait_until(answer: Callable[[], Answer], what: str, seconds: float = PATIENCE) -> Answer:
    """The answer, as soon as it is true. Errors on the way count as not yet."""
    deadline, pause = time.monotonic() + seconds, 0.2
    while True:
        said: Any = None
        try:
            said = answer()
            if said:
                return said
        except (psycopg.Error, OSError, subprocess.SubprocessError, LabError, ValueError, KeyError, AssertionError) as error:
            said = error
        if time.monotonic() > deadline:
            pytest.fail(f"not within {seconds:g} s: {what}; last: {said!r}")
        time.sleep(pause)
        pause = min(1.0, pause * 1.3)  # a question such as patronictl's takes a good part of a second of processor time


# Far from those in use, and so many that one of them as good as always lies first in the directory.
RESERVE = """
newest=$(ls | grep -xE '[0-9A-F]{24}' | sort | tail -n 1)
for number in $(seq 0 255); do printf "$PWD/%.8s%08X%08X\n" $newest $((16#${newest:8:8} + 1)) $number; done >/tmp/reserved
xargs truncate --size 16M </tmp/reserved
xargs chown postgres: </tmp/reserved
xargs chmod 600 </tmp/reserved
cat /tmp/reserved
"""


@contextmanager
def reserved(spec: LabSpec, seconds: float = 0, keep: Path | None = None) -> Iterator[bool]:
    """Whether a lab is this process's alone, now or within so many seconds. What is left of a killed run is cleared, but for
    what was kept for the checkout `keep`."""
    deadline = time.monotonic() + seconds
    with (LOCKS / f"pgquorum-tests-{spec.name}.lock").open("w") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    yield False
                    return
                time.sleep(0.5)
        if (stale := state.load(spec.name)) and stale.owner != keep:
            Lab(stale.spec, stale.owner).down()
        yield True


class Hosts:
    """The hosts of a lab that is up."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab

    def on(self, host: str, script: str, stdin: str | None = None, timeout: float = 60) -> str:
        """What a script prints as root on a host; it must succeed."""
        done = self.lab.run(host, "bash", "-c", script, input=stdin, timeout=timeout)
        assert done.returncode == 0, f"{host}: {script}\n{done.stdout}{done.stderr}"
        return done.stdout.strip()

    def on_all(self, script: str, hosts: list[str] = HOSTS, stdin: str | None = None) -> dict[str, str]:
        """What a script prints on each host, run on all at once."""
        with ThreadPoolExecutor(len(hosts)) as pool:
            return dict(zip(hosts, pool.map(lambda host: self.on(host, script, stdin), hosts), strict=True))

    def watch(self, host: str, script: str, stdin: str) -> subprocess.Popen[str]:
        """A script that goes on as root on a host, its output to be read when it has ended."""
        running = subprocess.Popen(
            [*self.lab.ssh_command(host), f"bash -c {shlex.quote(script)}"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip
        assert running.stdin
        running.stdin.write(stdin)
        running.stdin.close()
        running.stdin = None
        return running

    def psql(self, host: str, query: str, database: str = "postgres") -> str:
        """The answer of a host's own PostgreSQL, asked through its socket."""
        quoted = query.replace("'", "'\\''")
        return self.on(host, f"runuser -u postgres -- psql -XAtq -d {database} -c '{quoted}'")

    def reserve(self, host: str, wal: str) -> list[str]:
        """Makes files in a directory of the log as PostgreSQL reserves them, of zeroes, which is the first thing that a program
        finds there that takes any one. Their paths."""
        return self.on(host, f"cd {wal}; {RESERVE}").split()

    def members(self, through: str | None = None) -> dict[str, dict[str, Any]]:
        """Patroni's members by name, as patronictl tells."""
        listed = json.loads(self.on(through or self._powered(), "patronictl -c /etc/patroni/conf.d list -f json"))
        return {member["Member"]: member for member in listed}

    def states(self, through: str | None = None) -> dict[str, str]:
        """What each of Patroni's members is, as etcd has it: much quicker than patronictl. "leader" for who leads and runs."""
        through = through or self._powered()
        lines = self.etcdctl(through, f"get --prefix /service/{SPEC.name}/members/", [through, *DATABASES]).splitlines()
        told = {key.rsplit("/", 1)[1]: json.loads(value) for key, value in zip(lines[::2], lines[1::2], strict=True)}
        states = {name: member.get("replication_state") or member["state"] for name, member in told.items()}
        leader = self.leader(through)
        leads = told[leader]["role"] == "primary" and states[leader] == "running"
        return states | {leader: "leader" if leads else states[leader]}

    def leader(self, through: str | None = None) -> str:
        """Who holds Patroni's leader key, as etcd tells: ten times quicker than patronictl."""
        through = through or self._powered()
        found = self.etcdctl(through, f"get --print-value-only /service/{SPEC.name}/leader", [through, *DATABASES])
        assert found, "nobody holds the leader key"
        return found

    def _powered(self) -> str:
        return next(h.name for h in self.lab.status() if h.power and h.name in DATABASES)

    def replicas(self) -> list[str]:
        return sorted(set(DATABASES) - {self.leader()})

    def etcdctl(self, host: str, command: str, members: list[str] | None = None) -> str:
        """What etcdctl on a host says, which asks the member there, or whichever of `members` answers."""
        endpoints = ",".join(f"https://{IN_URL[member]}:2379" for member in members or [host])
        tls = "--cacert /etc/etcd/tls/ca.crt --cert /etc/etcd/tls/server.crt --key /etc/etcd/tls/server.key"
        return self.on(host, f"etcdctl --endpoints={endpoints} {tls} --command-timeout=5s {command}")

    def postmasters(self) -> dict[str, str]:
        """When each PostgreSQL was started, as it says itself."""
        return {host: self.psql(host, "select pg_postmaster_start_time()") for host in DATABASES}

    def processes(self) -> dict[str, str]:
        """Which processes of the cluster run on each host; a restart of any would change it."""
        return self.on_all("systemctl show -P MainPID etcd patroni haproxy; pgrep -o -x postgres || true")

    def killed_and_back(self, host: str, unit: str) -> int:
        """How often systemd has restarted a unit, by its count, that was killed and is back."""
        begun = self.on(host, f"systemctl show -P ExecMainStartTimestampMonotonic {unit}")
        self.on(host, f"systemctl kill --signal=KILL {unit}")
        back = f"systemctl is-active --quiet {unit} && systemctl show -P ExecMainStartTimestampMonotonic {unit} || true"
        wait_until(lambda: self.on(host, back) not in ("", begun), f"{unit} is back", 60)
        return int(self.on(host, f"systemctl show -P NRestarts {unit}"))

    def eyes(self, host: str) -> Any:
        """The host as testinfra sees it, over SSH."""
        return testinfra.get_host(f"ssh://{host}", ssh_config=str(self.lab.checkout / f".lab/{SPEC.name}/ssh_config"))

    @contextmanager
    def firewall(self, hosts: list[str], rule: str) -> Iterator[None]:
        """Hosts with a rule, in nft's words, for the packets that come in."""
        chain = "{ type filter hook input priority 0; policy accept; }"
        self.on_all(
            f"nft add table inet test; nft 'add chain inet test input {chain}'; nft 'add rule inet test input {rule}'", hosts
        )
        try:
            yield
        finally:
            self.on_all("nft delete table inet test", hosts)
