"""The last phase: looks at the cluster from every side, waits until all agree, and fails the deploy when they don't."""

from __future__ import annotations

import csv
import json
import shlex
import time
from collections.abc import Generator
from typing import Any

import gevent
from pyinfra import host, inventory, state
from pyinfra.api import FactBase, StringCommand, operation
from pyinfra.context import ctx_host

from cluster import paths
from cluster.dynamic_config import postgres_parameters
from cluster.invariant import Seen, broken, pending_restarts
from cluster.topology import Cluster

from .context import Run, stop, warn
from .databases import psql

DEADLINE_SECONDS = 60
PROBE_SECONDS = 5


class PatroniMembers(FactBase[tuple[dict[str, Any], ...]]):
    """`members` of Patroni's GET /cluster, as this host's member sees it."""

    def command(self, url: str) -> str:
        return f"{paths.curl(paths.PATRONI_TLS)} --max-time 5 --fail {url}/cluster 2>/dev/null || true"

    def process(self, output: list[str]) -> tuple[dict[str, Any], ...]:
        return tuple(json.loads("".join(output))["members"]) if output else ()


class ServerState(FactBase[dict[str, Any] | None]):
    """PostgreSQL's own word on this host: `recovery`, for whom writes wait, and `parameters` in their base units; None when it
    does not answer."""

    def command(self, port: int, parameters: tuple[str, ...]) -> str:
        names = ",".join(parameters)
        settings = f"(select json_object_agg(name, reset_val) from pg_settings where name = any('{{{names}}}'))"  # noqa: S608 - our own names
        waits_for = "current_setting('synchronous_standby_names')"
        query = f"select json_build_object('recovery', pg_is_in_recovery(), 'waits_for', {waits_for}, 'parameters', {settings})"
        return f"{psql(port, '-At', '-c', query)} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, Any] | None:
        return json.loads("".join(output)) if output else None


class ServersUp(FactBase[dict[str, tuple[str, ...]]]):
    """The servers that HAProxy holds to be UP, by backend."""

    def command(self) -> str:
        return f"echo 'show stat' | socat -t 2 stdio {paths.HAPROXY_SOCKET} 2>/dev/null || true"

    def process(self, output: list[str]) -> dict[str, tuple[str, ...]]:
        rows = list(csv.DictReader(line.removeprefix("# ") for line in output))
        servers = [r for r in rows if r["svname"] not in ("FRONTEND", "BACKEND") and r["status"].startswith("UP")]
        backends = {r["pxname"] for r in rows if r["svname"] == "BACKEND"}
        return {b: tuple(r["svname"] for r in servers if r["pxname"] == b) for b in backends}


def probe_script(cluster: Cluster, proxy: str, password: str) -> str:
    """A shell script that prints `probe passed`, or what a client is told: a write, and a read that may be served by anyone."""
    through = cluster.host(proxy)
    settings = (
        f"host={through.name} hostaddr={through.address} dbname={paths.PROBE_DATABASE} user={paths.PROBE_ROLE}"
        f" sslmode=verify-full sslrootcert={paths.PATRONI_TLS}/ca.crt connect_timeout=5 channel_binding=require"
    )
    limit = f"timeout --signal INT --kill-after {PROBE_SECONDS} {PROBE_SECONDS}"
    late = f'{{ [ $? != 124 ] || echo "a write is not acknowledged within {PROBE_SECONDS} s" >&2; echo no; }}'
    write = "with mine as (insert into probe (run, writer, seq) values (gen_random_uuid(), 0, 0) returning 1) select 1 from mine"
    return "\n".join(
        [
            f"export PGPASSWORD={shlex.quote(password)}",
            # A write that waits for a replica waits for ever. Interrupted, psql cancels it, and has an answer all the same.
            f'[ "$({limit} psql -XAtq "{settings} port={cluster.haproxy.write_port}" -c "{write}" || {late})" = 1 ] || exit 0',
            f'[ "$(psql -XAtq "{settings} port={cluster.haproxy.read_port}" -c "select 1")" = 1 ] || exit 0',
            'echo "probe passed"',
        ]
    )


def look(run: Run) -> Seen:
    """One look, every host asked at once."""
    cluster = run.cluster
    asked = {h.name: h for h in inventory if h in state.active_hosts}
    postgres = [h.name for h in cluster.postgres_hosts if h.name in asked]
    proxies = [h.name for h in cluster.haproxy_hosts if h.name in asked]
    eye = cluster.host(postgres[0])
    url = f"https://{eye.url_address}:{cluster.postgres.patroni_port}"
    arguments = {"port": cluster.postgres.port, "parameters": tuple(postgres_parameters(cluster))}
    jobs = {
        ("members", eye.name): gevent.spawn(_ask, asked[eye.name], PatroniMembers, url=url),
        **{("server", n): gevent.spawn(_ask, asked[n], ServerState, **arguments) for n in postgres},
        **{("up", n): gevent.spawn(_ask, asked[n], ServersUp) for n in proxies},
        **{("probe", n): gevent.spawn(_probe, asked[eye.name], run, n) for n in proxies},
    }
    gevent.joinall(jobs.values(), raise_error=True)
    answers = {key: job.value for key, job in jobs.items()}
    servers = {n: answers["server", n] for n in postgres if answers["server", n]}
    return Seen(
        members=answers["members", eye.name] or (),
        in_recovery={n: answers["server", n] and answers["server", n]["recovery"] for n in postgres},
        parameters={n: server["parameters"] for n, server in servers.items()},
        waits_for=next((server["waits_for"] for server in servers.values() if not server["recovery"]), ""),
        up={n: answers["up", n] or {} for n in proxies},
        probes={n: answers["probe", n] for n in proxies},
    )


def _ask(one: Any, fact: type[FactBase[Any]], **arguments: Any) -> Any:
    with ctx_host.use(one):
        return one.get_fact(fact, **arguments)


def _probe(one: Any, run: Run, proxy: str) -> str:
    """What a client is told that writes through port 5000 and reads through 5001, both verify-full; '' when all is well.

    Not a fact: pyinfra prints the arguments of facts, and the script, which goes through standard input, holds the password.
    """
    script = probe_script(run.cluster, proxy, run.vault.password("probe"))
    _, output = one.run_shell_command(StringCommand("sh -s"), _stdin=script, _sudo=one.data.get("_sudo", False))
    return "" if output.stdout_lines == ["probe passed"] else output.output or "no answer"


@operation()
def verify(run: Run) -> Generator[StringCommand]:
    """Waits until the invariant holds (cluster/invariant.py) and fails with what does not. Changes nothing.

    For one host, which asks all the others.
    """
    if state.is_executing:
        deadline = time.monotonic() + DEADLINE_SECONDS
        while problems := list(broken(run.cluster, seen := look(run))):
            if time.monotonic() > deadline:
                yield from stop("the cluster is not as it should be:", problems)
                return
            time.sleep(0.5)
        _report(run, seen)


def _report(run: Run, seen: Seen) -> None:
    host.log(f"verified: {seen.leader} leads, writes and reads pass through HAProxy")
    for member, settings in pending_restarts(run.cluster, seen).items():
        warn(f"{member} waits for a restart: {', '.join(settings)} (invoke rolling-restart)")
    if run.cluster.all.durability == "asynchronous":
        warn("durability is asynchronous: a failover may lose the last acknowledged writes")
    elif not run.cluster.waits_without_replica:
        warn("without_replica is continue: while no replica is there, losing the primary loses acknowledged writes")
