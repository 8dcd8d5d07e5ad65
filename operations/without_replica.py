"""What PostgreSQL does of its own when Patroni has not told it whom to wait for: wait for any replica, or for none.

With `synchronous_mode_strict` a primary without a replica waits for one. But in quorum mode Patroni 4.1 forgets that when such a
primary is started again (ha.py, process_sync_replication_prepromote: it is to wait for the members of /sync but itself, which
are none), and it would acknowledge alone. So the choice also stands where PostgreSQL looks when Patroni has set nothing: in
the file that Patroni keeps of initdb's settings, and includes before its own.
"""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra import host
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths

from .context import Run

SETTING = "synchronous_standby_names"


class BaseConfig(FactBase[list[str] | None]):
    """The lines of PostgreSQL's base configuration about SETTING; None where there is no PostgreSQL yet."""

    def command(self, path: str) -> str:
        # As the user whose file it is, who could have put anything there, and not for ever.
        read = f"timeout 10 head -c 1M {shlex.quote(path)} | grep -a '^{SETTING}' || true"
        there = f"if [ -e {shlex.quote(path)} ]; then echo there; {read}; fi"
        return f"! id -u postgres >/dev/null 2>&1 || runuser -u postgres -- sh -c {shlex.quote(there)}"

    def process(self, output: list[str]) -> list[str] | None:
        return output[1:] if output else None


@operation()
def ensure(run: Run) -> Generator[StringCommand]:
    """Brings the base configuration on this host in line with the choice, and lets PostgreSQL read it."""
    settings = run.cluster.postgres
    path = f"{settings.data_directory}/postgresql.base.conf"
    live = host.get_fact(BaseConfig, path=path)
    wanted = [f"{SETTING} = '*'"] if run.cluster.waits_without_replica else []
    if live is None or live == wanted:
        return
    file = shlex.quote(path)
    edit = [f"sed -i '/^{SETTING}/d' {file}", *(f"echo {shlex.quote(line)} >> {file}" for line in wanted)]
    control = f"{paths.postgres_binaries(settings.version)}/pg_ctl"
    reload = f"{control} reload --silent --pgdata={shlex.quote(settings.data_directory)}"
    yield StringCommand(f"runuser -u postgres -- sh -c {shlex.quote(' && '.join([*edit, reload]))}")
