"""A site: a lab, and a copy of the checkout to deploy to it from, as its operator has it."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psycopg
from hosts import ADDRESS, DATABASES, HOSTS, PATIENCE, PROXY, SECOND, SPEC, Hosts, wait_until
from repository import ROOT

from cluster.inventory_files import load_cluster
from cluster.paths import LOCK
from cluster.topology import Cluster
from cluster.vault import Vault
from lab import Lab, disk

# Ends on a host what was started there only to take its time.
END_SLEEP = "kill $(pgrep -f 'sleep [6]00') 2>/dev/null || true"
INVENTORY = f".lab/{SPEC.name}/inventory.py"
# Every character that a password from the environment may have: each must survive every file and program it goes through.
ODD = "!#$%&()*+,-./:;<=>?@[]^_`{|}~09AZaz"
ENVIRONMENT = {
    f"PGQUORUM_PASSWORD_{name}": f"{n}{ODD}{n}"
    for n, name in enumerate(("HAPROXY_STATS", "REST_API", "REPLICATION", "REWIND", "ROLE_APP"))
}
DEPLOY_SECONDS = 400


@dataclass(frozen=True)
class Deploy:
    """What came of one run of pyinfra. `stdout` is apart when it is JSON."""

    exit_code: int
    output: str
    stdout: str = ""

    @property
    def last_words(self) -> str:
        """What a run ends with that was refused or has failed: all behind the last arrow of pyinfra's."""
        assert "Over 0%" not in self.output and "Traceback" not in self.output, self.output
        return self.output.rpartition("--> ")[2]

    @property
    def changes(self) -> int:
        """How many operations changed something on some host, by pyinfra's own count; all must have succeeded."""
        totals = json.loads(self.stdout)["results"]["totals"]
        assert totals["error"] == 0, self.stdout
        return int(totals["success"])


def refused(run: Deploy, *sentences: str) -> None:
    """A deploy that was refused or has failed: the last that it says is the reason, with each of these sentences. Its last line
    is one of the problems or has one of the sentences, so nothing is said behind it."""
    assert run.exit_code not in (0, 130), run.output
    for sentence in sentences:
        assert sentence in run.last_words, (sentence, run.output)
    last = run.last_words.rstrip().rpartition("\n")[2]
    assert last.startswith("  - ") or any(sentence in last for sentence in sentences), run.output


class Site(Hosts):
    """The hosts, and the copy of the checkout (`folder`) from which they are deployed to."""

    kept_in = "secrets"  # where the passwords and keys of the copy are, which a test may move

    def __init__(self, lab: Lab, folder: Path) -> None:
        super().__init__(lab)
        self.folder = folder

    def pyinfra(self, *arguments: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
        """A run of pyinfra from the copy, as it goes on; its output in one stream."""
        return subprocess.Popen(
            [str(Path(sys.executable).with_name("pyinfra")), *arguments], cwd=self.folder, text=True,
            env=os.environ | ENVIRONMENT | (environment or {}), stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip

    def deploy(self, *options: str, inventory: str = INVENTORY, environment: dict[str, str] | None = None) -> Deploy:
        """`pyinfra INVENTORY deploy.py OPTION...` to its end."""
        run = self.pyinfra(inventory, "deploy.py", *options, environment=environment)
        try:
            output, _ = run.communicate(timeout=DEPLOY_SECONDS)
        finally:
            run.kill()
        return Deploy(run.returncode, output)

    def deployed(self, *options: str) -> Deploy:
        """A deploy that must succeed."""
        run = self.deploy("-y", *options)
        assert run.exit_code == 0, run.output
        return run

    def changes(self, *options: str, inventory: str = INVENTORY) -> int:
        """How much a deploy changes, by pyinfra's own count; it must succeed."""
        done = subprocess.run(
            [str(Path(sys.executable).with_name("pyinfra")), inventory, "deploy.py", "-y", "--json", *options],
            cwd=self.folder, env=os.environ | ENVIRONMENT, stdin=subprocess.DEVNULL, capture_output=True, text=True,
            timeout=DEPLOY_SECONDS, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        changes = Deploy(done.returncode, done.stderr, done.stdout).changes
        print(f"the deploy changed {changes}: {done.stdout if changes else 'nothing'}")  # shown by pytest when a test fails
        return changes

    def interrupt(self, run: subprocess.Popen[str]) -> str:
        """Ctrl-C for a run that goes on; its output."""
        os.killpg(run.pid, signal.SIGINT)
        output, _ = run.communicate(timeout=PATIENCE)
        return output

    @contextmanager
    def locked(self) -> Iterator[None]:
        """The cluster, while somebody else is changing it."""
        hold = f"exec 9>>{LOCK}; flock -w 60 9 || exit 1; sleep 600"  # those that ask whether it is held hold it for a moment
        holders = [self.watch(host, hold, "") for host in DATABASES]
        try:
            wait_until(lambda: self.on_all(f"! flock -n {LOCK} true", DATABASES), "the locks are held")
            yield
        finally:
            for holder in holders:
                holder.kill()
                holder.wait()
            self.on_all(END_SLEEP)

    @contextmanager
    def without_limit(self) -> Iterator[None]:
        """The application's role may take every connection there is, as owners can have it."""
        limit = self.psql(self.leader(), "select rolconnlimit from pg_roles where rolname = 'app'")
        self.psql(self.leader(), "alter role app connection limit -1")
        try:
            yield
        finally:
            back = f"alter role app connection limit {limit}"
            wait_until(lambda: self.psql(self.leader(), back) == "", "the role has its limit again")

    @contextmanager
    def edited(self, name: str, append: str) -> Iterator[None]:
        """The copy with something at the end of one of its files."""
        file = self.folder / name
        before = file.read_text()
        file.write_text(f"{before}\n{append}\n")
        try:
            yield
        finally:
            file.write_text(before)

    @contextmanager
    def deployed_with(self, name: str, append: str) -> Iterator[None]:
        """The cluster with something at the end of one of the copy's files, and without it again, whatever the test has found."""
        try:
            with self.edited(name, append):
                self.deployed()
                yield
        finally:
            self.heal()
            self.deployed()

    @property
    def cluster(self) -> Cluster:
        here = Path.cwd()
        os.chdir(self.folder)
        try:
            return load_cluster(INVENTORY, {"secrets_directory": str(self.folder / self.kept_in)})
        finally:
            os.chdir(here)

    @property
    def vault(self) -> Vault:
        return Vault(self.cluster, ENVIRONMENT)

    @property
    def secrets(self) -> Path:
        """The directory of the cluster's secrets."""
        return self.folder / self.kept_in / SPEC.name

    def snapshot(self, hosts: list[str] = HOSTS) -> dict[str, str]:
        """All that a deploy could change on hosts, and the secrets: files, packages, and which processes run since when."""
        script = (
            "find /etc /usr/local /opt /srv /root /var/lib/dpkg/status $(ls -d /var/lib/{etcd,postgresql,haproxy} 2>/dev/null)"
            " -maxdepth 3 -printf '%p %y %s %m %u %T@\\n' | grep -v -e /pgquorum -e ' d ' -e '^/root/' | sort;"
            " systemctl show -p Id,MainPID,ActiveState,UnitFileState,StateChangeTimestamp etcd patroni haproxy postgresql;"
            " cat /etc/passwd"
        )
        found = self.on_all(script, hosts)
        secrets = sorted((self.folder / "secrets").rglob("*")) if (self.folder / "secrets").exists() else []
        found["operator"] = "\n".join(f"{p} {p.stat().st_mtime_ns if p.is_file() else ''}" for p in secrets)
        return found

    def healthy(self) -> bool:
        """One leader, all others streaming and read, etcd whole, and a client can write."""
        states = self.states()
        if sorted(states.values()) != ["leader", *["streaming"] * (len(DATABASES) - 1)]:
            return False
        if self.read_from() != sorted(name for name, state in states.items() if state != "leader"):
            return False
        self.etcdctl(DATABASES[0], "endpoint health --cluster")
        with self.connect(5000) as connection:
            connection.execute("select 1")
        return True

    def read_from(self) -> list[str]:
        """The servers that reads go to, by HAProxy's own statistics."""
        said = self.on(PROXY, "echo 'show stat' | socat stdio /run/haproxy/admin.sock | cut -d, -f1,2,18 | grep '^read,pg'")
        states = dict(line.removeprefix("read,").split(",") for line in said.splitlines())
        return sorted(name for name, state in states.items() if state.startswith("UP"))

    def up(self) -> None:
        """The lab, up. Its inventory is written anew by that: the host that is to keep backups and the second proxy are in it
        once they have joined."""
        joined, shares = self.keeps_backups, self.has_two_proxies
        self.lab.up()
        inventory = self.folder / INVENTORY
        if not joined:
            inventory.write_text(inventory.read_text().partition("backup = [")[0])
        if not shares:
            self.without_second_proxy()

    def without_second_proxy(self) -> None:
        """It leaves the inventory."""
        inventory = self.folder / INVENTORY
        lines = inventory.read_text().splitlines(keepends=True)
        inventory.write_text("".join(line for line in lines if f"('{SECOND}', " not in line))

    @property
    def has_two_proxies(self) -> bool:
        """Whether the second one has joined."""
        inventory = self.folder / INVENTORY
        return inventory.exists() and f"('{SECOND}', " in inventory.read_text()

    @property
    def keeps_backups(self) -> bool:
        """Whether a host has joined that keeps backups."""
        inventory = self.folder / INVENTORY
        return inventory.exists() and "backup = [" in inventory.read_text()

    def heal(self) -> None:
        """Every host on and the cluster whole, whatever the test before has left."""
        if not all(host.power and host.cable and host.ssh for host in self.lab.status()):
            self.up()
        wait_until(self.healthy, "the cluster is whole before the test begins")

    def replace_with_blank(self, *hosts: str) -> None:
        """New machines in the place of old ones: the same names and addresses, empty disks, other SSH keys."""
        for host in hosts:
            self.lab.off(host)
            disk.unmount_all(SPEC.name, host)
            shutil.rmtree(disk.folder(SPEC.name, host))
        self.up()

    def connect(self, port: int, **differs: Any) -> psycopg.Connection[Any]:
        """A connection through HAProxy as an application makes it: verify-full, with the role and database of the settings."""
        return psycopg.connect(**{"autocommit": True} | self.parameters(port, **differs))

    def takes_writes(self) -> bool:
        """Whether port 5000 leads to a server that does: who has just won the leader key may not be promoted yet."""
        with self.connect(5000) as connection:
            return connection.execute("show transaction_read_only").fetchall() == [("off",)]

    def parameters(self, port: int, **differs: Any) -> dict[str, Any]:
        """What such a connection is made with."""
        settings: dict[str, Any] = {
            "host": PROXY,
            "hostaddr": ADDRESS[PROXY],
            "port": port,
            "dbname": "app",
            "user": "app",
            "password": ENVIRONMENT["PGQUORUM_PASSWORD_ROLE_APP"],
            "sslmode": "verify-full",
            "sslrootcert": str(self.secrets / "postgres-ca.crt"),
            "connect_timeout": 5,
        }
        return settings | differs


def copy_checkout(target: Path) -> Path:
    """A copy of the checkout: all that git tracks or would track."""
    listed = subprocess.run(
        ["git", "ls-files", "-co", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    for name in listed.stdout.splitlines():
        if (ROOT / name).is_file() and not name.startswith("tests/"):
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, target / name)
    return target
