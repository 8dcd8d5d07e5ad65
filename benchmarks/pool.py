"""A thousand clients on a small server, through the pools and without: how much they get done, how long they wait to be let in,
and what PostgreSQL has to hold for them; in turn, on one cluster. Without pools max_connections has to be raised for them."""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import time

from lab import Lab

from . import rig

CLIENTS, SECONDS, ROUNDS = 1000, 20, 3
SETTINGS = {
    "haproxy": f"pooling = True\nhaproxy_max_connections = pooling_max_clients = {CLIENTS + 100}\n",
    # What the shipped settings have, but for the first.
    "postgres": f'postgres_parameters = {{"max_connections": {CLIENTS + 100}, "shared_buffers": "256MB", "work_mem": "4MB"}}\n'
    f"postgres_roles = [{{'name': 'app', 'connection_limit': -1}}]\n",
}
WAYS = {"straight": 5000, "pooled": 6432}
# pgbench's own: a row read by its key, and a row changed with a line of history, with prepared statements.
LOADS = {"reads": "-S", "writes": "-N"}
BINARIES = "/usr/lib/postgresql/18/bin"
# How much memory PostgreSQL's processes have, each shared page counted once (bytes), and how many of them are a client's.
HELD = (
    "cat $(pgrep -u postgres -x postgres | sed 's,.*,/proc/&/smaps_rollup,') 2>/dev/null"
    " | awk '/^Pss:/ {s += $2} END {print s * 1024}';"
    " pgrep -u postgres -fc 'postgres: .* app app '"
)


def main(rounds: int = ROUNDS) -> None:
    figures: dict[tuple[str, str, str], list[float]] = {}
    with rig.blank_lab() as lab:
        for group, text in SETTINGS.items():
            with (rig.CHECKOUT / f".lab/{rig.SPEC.name}/group_data/{group}.py").open("a") as file:
                file.write(text)
        rig.deploy()
        password = _said("invoke", "secrets", "--name", "role_app")
        _pgbench(lab, password, WAYS["straight"], "--initialize --quiet --scale=10")
        for _ in range(rounds):
            for load, option in LOADS.items():
                for way, port in WAYS.items():
                    for what, figure in _measured(lab, password, port, option).items():
                        print(f"{load:7} {way:9} {what:12} {figure:,.1f}", file=sys.stderr, flush=True)
                        figures.setdefault((load, way, what), []).append(figure)
    for load in LOADS:
        for what in ("tps", "connect (s)", "sessions", "memory (MB)"):
            medians = {way: statistics.median(figures[load, way, what]) for way in WAYS}
            ratio = medians["pooled"] / medians["straight"]
            told = ", ".join(f"{way} {median:,.1f}" for way, median in medians.items())
            print(f"{CLIENTS} clients, {load:7} {what:12} {told} (medians of {rounds}), ratio pooled to straight {ratio:.2f}")


def _measured(lab: Lab, password: str, port: int, option: str) -> dict[str, float]:
    """One run of pgbench with all clients: transactions a second, seconds until all were let in, and what PostgreSQL on the
    primary held meanwhile."""
    running = _start(
        lab, password, port, f"--no-vacuum {option} --protocol=prepared --client={CLIENTS} --jobs=2 --time={SECONDS}"
    )
    time.sleep(SECONDS * 0.75)
    memory, sessions = max(_held(lab, host.name) for host in lab.spec.hosts if host.kind == "database")
    said, _ = running.communicate(timeout=20 * SECONDS)
    found = {name: re.search(rf"{name} = ([\d.]+)", said) for name in ("tps", "initial connection time")}
    if running.returncode or not all(found.values()):
        sys.exit(f"pgbench through port {port} has failed: {said[-1000:]}")
    tps, connect = (float(match[1]) for match in found.values() if match)
    return {"tps": tps, "connect (s)": connect / 1000, "sessions": sessions, "memory (MB)": memory / 1e6}


def _held(lab: Lab, host: str) -> tuple[float, float]:
    done = subprocess.run([*lab.ssh_command(host), HELD], text=True, stdout=subprocess.PIPE, check=False)
    memory, sessions = (float(word) for word in done.stdout.split())
    return memory, sessions


def _start(lab: Lab, password: str, port: int, options: str) -> subprocess.Popen[str]:
    """Begins pgbench on a database host, as an application would connect."""
    client = next(host.name for host in reversed(lab.spec.hosts) if host.kind == "database")
    proxy = next(host for host in lab.spec.hosts if host.kind == "proxy")
    to = f"host={proxy.name} hostaddr={proxy.address} port={port} dbname=app user=app sslmode=verify-full"
    script = (
        f'ulimit -n 8192; PGPASSWORD=$(cat) exec {BINARIES}/pgbench {options} "{to} sslrootcert=/etc/patroni/tls/ca.crt" 2>&1'
    )
    running = subprocess.Popen(
        [*lab.ssh_command(client), script], text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert running.stdin
    running.stdin.write(password)
    running.stdin.close()
    running.stdin = None
    return running


def _pgbench(lab: Lab, password: str, port: int, options: str) -> None:
    running = _start(lab, password, port, options)
    said, _ = running.communicate(timeout=300)
    if running.returncode:
        sys.exit(f"pgbench has failed: {said[-1000:]}")


def _said(*command: str) -> str:
    done = subprocess.run(command, cwd=rig.CHECKOUT, env=rig.environment(), text=True, stdout=subprocess.PIPE, check=True)
    return done.stdout.strip()
