"""The last phase: looks at the cluster from every side, waits until all is as it should be, and fails the deploy when not."""

from __future__ import annotations

import shlex
import time
from collections.abc import Generator
from typing import Any

import gevent
from pyinfra import host, inventory, state
from pyinfra.api import StringCommand, operation

from cluster import paths, pooling
from cluster.topology import Cluster
from health.deployed import PASSED, POOLED_READ_FAILS, POOLED_WRITE_FAILS, READ_FAILS, WRITE_FAILS, client, remarks, unmet
from health.finding import Finding
from health.logins import login_script, logins
from health.rules import findings
from health.view import ClusterView

from .context import Run, warn
from .observe import observe
from .refusal import stop

DEADLINE_SECONDS = 60
PROBE_SECONDS = 5


def probe_script(cluster: Cluster, proxy: str, password: str) -> str:
    """A shell script that does a write, and a read that may be served by anyone, and prints PASSED or which of them fails."""
    through = cluster.host(proxy)
    settings = (
        f"host={through.name} hostaddr={through.address} dbname={paths.PROBE_DATABASE} user={paths.PROBE_ROLE}"
        f" sslmode=verify-full sslrootcert={paths.PATRONI_TLS}/ca.crt connect_timeout=5"
    )
    # Two of them: the one of Ubuntu 26.04 (uutils) kills at once where another signal is asked for together with --kill-after.
    limit = f"timeout {2 * PROBE_SECONDS} timeout --signal INT {PROBE_SECONDS}"
    late = f'{{ [ $? != 124 ] || echo "a write is not acknowledged within {PROBE_SECONDS} s" >&2; echo no; }}'
    write = "with mine as (insert into probe (run, writer, seq) values (gen_random_uuid(), 0, 0) returning 1) select 1 from mine"

    def way(asks: str, write_port: int, read_port: int, no_write: str, no_read: str) -> list[str]:
        return [
            # A write that waits for a replica waits for ever. Interrupted, psql cancels it, and has an answer all the same.
            f'[ "$({limit} psql -XAtq "{settings}{asks} port={write_port}" -c "{write}" || {late})" = 1 ]'
            f' || {{ echo "{no_write}"; exit 0; }}',
            f'[ "$(psql -XAtq "{settings}{asks} port={read_port}" -c "select 1")" = 1 ] || {{ echo "{no_read}"; exit 0; }}',
        ]

    ways = way(" channel_binding=require", cluster.haproxy.write_port, cluster.haproxy.read_port, WRITE_FAILS, READ_FAILS)
    if cluster.pooler_hosts:  # PgBouncer knows no channel binding
        ports = (pooling.port(cluster, "write"), pooling.port(cluster, "read"))
        ways += way("", *ports, POOLED_WRITE_FAILS, POOLED_READ_FAILS)
    return "\n".join([f"export PGPASSWORD={shlex.quote(password)}", *ways, f'echo "{PASSED}"'])


def look(run: Run) -> tuple[ClusterView, tuple[Finding, ...]]:
    """One look, every host asked at once; what the rules say of it, and what a client meets."""
    cluster = run.cluster
    asked = {h.name: h for h in inventory if h in state.active_hosts}
    peer = next(asked[h.name] for h in cluster.postgres_hosts if h.name in asked)
    entering: list[Any] = []
    probes = [gevent.spawn(_probe, peer, run, h.name) for h in cluster.haproxy_hosts if h.name in asked]
    view = observe(cluster)
    primary = view.leader if view.leader in {h.name for h in cluster.postgres_hosts} else None
    if primary:
        entering = [gevent.spawn(_log_in, asked[h.name], run, primary) for h in cluster.postgres_hosts if h.name in asked]
    gevent.joinall([*probes, *entering], raise_error=True)
    clients = (probe.value for probe in probes)
    return view, (*findings(view, cluster), *clients, *(one for job in entering for one in job.value))


def _probe(one: Any, run: Run, proxy: str) -> Finding:
    """What a client is told that writes through port 5000 and reads through 5001, and so by the pools, all verify-full.

    Not a fact: pyinfra prints the arguments of facts, and the script, which goes through standard input, holds the password.
    """
    script = probe_script(run.cluster, proxy, run.vault.password("probe"))
    _, output = one.run_shell_command(StringCommand("sh -s"), _stdin=script, _sudo=one.data.get("_sudo", False))
    return client(proxy, output.stdout, output.stderr)


def _log_in(one: Any, run: Run, primary: str) -> list[Finding]:
    """What the system's own roles are told, from a host to the primary. Not a fact, as above."""
    script = login_script(run.cluster, primary, {name: run.vault.password(name) for name in ("replication", "rewind")})
    worked, output = one.run_shell_command(StringCommand("sh -s logins"), _stdin=script, _sudo=one.data.get("_sudo", False))
    return list(logins(one.name, primary, output.stdout if worked else f"the roles: {output.stderr}"))


@operation()
def verify(run: Run) -> Generator[StringCommand]:
    """Waits until the rules of health/ find nothing a deploy has to mend, and fails with what they do. Changes nothing.

    For one host, which asks all the others.
    """
    if state.is_executing:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while problems := unmet((seen := look(run))[1]):
            if time.monotonic() > deadline:
                yield from stop("the cluster is not as it should be:", map(str, problems))
                return
            time.sleep(0.5)
        view, found = seen
        host.log(f"verified: {view.leader or 'a host left out of this run'} leads, writes and reads pass through HAProxy")
        for line in remarks(view, run.cluster, found):
            warn(line)
