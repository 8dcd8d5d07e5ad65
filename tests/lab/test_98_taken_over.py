"""What a program that was taken over tries beyond its own: a proxy's certificate at Patroni, a service's user beside a deploy."""

from __future__ import annotations

import json
import re
import shlex
import socket
import ssl
import time
from contextlib import suppress

import pytest
from commands import status
from helpers import Site
from hosts import ADDRESS, DATABASES, PROXY

from agents.sent import shipped
from cluster import paths
from day2.faults import processes
from day2.faults.script import HostScript

pytestmark = pytest.mark.usefixtures("first_deploy", "healed")

# A request for everybody that hides one for the operator alone: by two lengths, by two ways to say where it ends, by a length
# that covers less than what is sent, by a line that is none, and one after the other.
HIDDEN = "POST /switchover HTTP/1.1\r\nHost: patroni\r\nContent-Length: {length}\r\n\r\n{order}"
SMUGGLED = {
    "two lengths": "GET /liveness HTTP/1.1\r\nHost: patroni\r\nContent-Length: 0\r\nContent-Length: {size}\r\n\r\n{hidden}",
    "length and chunks": "GET /liveness HTTP/1.1\r\nHost: patroni\r\nContent-Length: {size}\r\nTransfer-Encoding: chunked\r\n\r\n"
    "0\r\n\r\n{hidden}",
    "chunks in disguise": "GET /liveness HTTP/1.1\r\nHost: patroni\r\nTransfer-Encoding: \x0bchunked\r\nContent-Length: 4\r\n\r\n"
    "0\r\n\r\n{hidden}",
    "a body that is none": "GET /liveness HTTP/1.1\r\nConnection: keep-alive\r\nContent-Length: 0\r\n\r\n{hidden}",
    "a header with a line of its own": "GET /liveness HTTP/1.1\r\nHost: patroni\r\nX: y\r\n\r\n{hidden}",
    "an old protocol": "GET /liveness HTTP/1.0\r\nConnection: keep-alive\r\n\r\n{hidden}",
    "no protocol": "GET /liveness\r\n{hidden}",
    "a password that is none": "POST /switchover HTTP/1.1\r\nAuthorization: Basic Og==\r\nContent-Length: {size}\r\n\r\n{hidden}",
}


def said(site: Site, host: str, text: str) -> str:
    """All that Patroni on a host answers to what is sent, to whoever has the certificate of HAProxy's checks."""
    context = ssl.create_default_context(cafile=site.secrets / "postgres-ca.crt")
    pair = site.secrets / f"{PROXY}-haproxy-client"
    context.load_cert_chain(f"{pair}.crt", f"{pair}.key")
    answer = b""
    plain = socket.create_connection((ADDRESS[host], 8008), timeout=10)
    with context.wrap_socket(plain, server_hostname=host) as connection, suppress(OSError):
        connection.sendall(text.encode("latin-1"))
        connection.settimeout(3)
        while part := connection.recv(65536):
            answer += part
    return answer.decode(errors="replace")


@pytest.mark.parametrize("way", SMUGGLED)
def test_no_order_to_patroni_is_smuggled_by_a_proxys_certificate(site: Site, way: str) -> None:
    leader, replica = site.leader(), site.replicas()[0]
    order = f'{{"leader": "{leader}", "candidate": "{replica}"}}'
    hidden = HIDDEN.format(length=len(order), order=order)
    answer = said(site, leader, SMUGGLED[way].format(hidden=hidden, size=len(hidden)))
    # It is an answer, to one request, and no word of a switchover in it.
    assert len(re.findall(r"HTTP/1\.[01] \d{3}", answer)) <= 1, answer
    assert "witched over" not in answer and "witchover" not in answer, answer
    assert said(site, leader, HIDDEN.format(length=len(order), order=order)).split()[1] == "401"  # as it is, it is refused
    assert site.leader() == leader and status(site)["healthy"]


# Run as a service's user for $1 seconds: wherever it may write, whatever appears there that it did not make is taken away, and a
# link to a file of its choice put in its place. Prints what it has replaced.
RACE = """
import os, sys, time
until, victim = time.monotonic() + float(sys.argv[1]), sys.argv[2]
places = [d for top in sys.argv[3:] for d, _, _ in os.walk(top) if os.access(d, os.W_OK)]
before = {place: set(os.listdir(place)) for place in places}
print("ready", len(places), flush=True)
while time.monotonic() < until:
    for place in places:
        try:
            new = set(os.listdir(place)) - before[place]
        except OSError:
            continue
        for name in new:
            if name.startswith("pgquorum-judge-"):
                continue  # of a program that runs as postgres itself
            path = os.path.join(place, name)
            before[place].add(name)
            try:
                owner = os.lstat(path).st_uid
                if os.path.isdir(path) and not os.path.islink(path):
                    os.rename(path, path + ".gone")
                else:
                    os.unlink(path)
                os.symlink(victim, path)
                print("replaced", owner, path, flush=True)
            except OSError:
                continue
    time.sleep(0.002)
"""
# Where users and services may write on a host, but for their own data.
PLACES = "/tmp /var/tmp /dev/shm /run /etc /opt /var/cache /var/lib/haproxy /var/log /srv"
RACERS = [(DATABASES[0], "nobody"), (DATABASES[0], "etcd"), (DATABASES[0], "postgres"), (PROXY, "nobody"), (PROXY, "haproxy")]
SECONDS = 60


def test_a_deploy_follows_nothing_that_a_user_races_to_put_in_its_way(site: Site) -> None:
    victim = "/root/victim"
    made = f"echo untouched >{victim}; chmod 600 {victim}; sha256sum /etc/shadow /etc/passwd {victim}; stat -c '%U %a' {victim}"
    before = site.on_all(made)
    racing = [site.watch(host, f"exec runuser -u {user} -- python3 - {SECONDS} {victim} {PLACES}", RACE) for host, user in RACERS]
    said = []
    try:
        with (
            site.edited("group_data/all.py", "failover_timing = {'connect_ms': 600}"),
            site.edited("group_data/etcd.py", "etcd_compaction_hours = 2"),
        ):
            site.deployed()
    finally:
        for process in racing:
            said.append(process.communicate(timeout=3 * SECONDS)[0])
    print("\n".join(said))
    assert all(output.startswith("ready") for output in said)
    assert not any(re.search(r"^replaced 0 ", output, re.MULTILINE) for output in said), "it took away what was root's"
    assert site.on_all(made.partition("; ")[2].partition("; ")[2]) == before
    site.deployed()
    assert site.changes() == 0
    assert status(site)["healthy"]


# Where user postgres may put what it likes, and what root must not be led to from there.
PLACE, VICTIM = "/var/lib/postgresql/placed", "/opt/victims"
LED = {
    "what is put aside is deleted": ("set_aside", f"ln -s {VICTIM} data"),
    "its log is deleted": ("set_aside", f"mkdir data && touch data/PG_VERSION && ln -s {VICTIM} data/pg_wal"),
    "what is there instead is deleted": (
        "put_back",
        f"mkdir data data.old && touch data/PG_VERSION && ln -s {VICTIM} data/pg_wal",
    ),
    "the log is renamed": ("put_back", f"mkdir data.old && ln -s {VICTIM}/log data.old/pg_wal"),
    "a new one is made": ("fetch", f"ln -s {VICTIM} above"),
    "what a backup is to replace is deleted": ("fetch", f"ln -s {VICTIM} data"),
    "a file is written": ("recover", f"ln -s {VICTIM} data"),
    "a file is taken for the log's": ("recover", f"mkdir data && ln -s {VICTIM} data/pg_wal"),
}


@pytest.mark.parametrize("deed", LED)
def test_no_step_of_a_restore_is_led_out_of_the_data(site: Site, deed: str) -> None:
    host = site.replicas()[0]
    name, placed = LED[deed]
    data = f"{PLACE}/above/data" if "above" in placed else f"{PLACE}/data"
    postgres = site.cluster.postgres
    spec = {
        "data": data, "suffix": ".old" if name == "put_back" else "", "binaries": paths.postgres_binaries(postgres.version),
        "stanza": "none", "port": postgres.port, "wal": "", "label": "none", "timeline": 1, "options": [], "settings": {
            "restore_command": "/bin/false"}, "taken": [9],
    }  # fmt: skip
    site.on(host, f"mkdir {VICTIM} {VICTIM}/log && echo untouched >{VICTIM}/log/file")
    site.on(host, f"runuser -u postgres -- sh -c {shlex.quote(f'mkdir {PLACE} && cd {PLACE} && {placed}')}")
    listed = f"cd / && find {VICTIM} -printf '%p %U %m %y\\n' | sort"
    before = site.on(host, listed)
    command, source = shipped("restore", {"do": name})
    try:
        said = site.on(host, f"{command} 2>&1; echo exit $?", stdin=source + json.dumps(spec))
        after = site.on(host, listed)
    finally:
        site.on(host, f"systemctl stop pgquorum-restore; systemctl reset-failed pgquorum-restore;"
                f" rm -rf {PLACE} {VICTIM} /run/pgquorum-restore")  # fmt: skip
    print(said)
    assert after == before, said


# As user postgres for $2 seconds: two names in the directory $1, `data` and `data.old`, are without an end a directory with some
# files in it and a link to $3, by turns, and so is the directory's pg_wal. Says how often they were exchanged.
EXCHANGE = """
import ctypes, os, shutil, sys, time
place, seconds, victim = sys.argv[1:]
rename = ctypes.CDLL(None, use_errno=True).renameat2
os.chdir(place)

def whole(name):
    try:
        os.makedirs(f"{name}/base/1", exist_ok=True)
        for file in ("PG_VERSION", "base/1/1"):
            open(f"{name}/{file}", "a").close()
        if not os.path.lexists(f"{name}/pg_wal"):
            os.symlink(victim, f"{name}/pg_wal")
    except OSError:
        pass

until, done = time.monotonic() + float(seconds), 0
print("ready", flush=True)
while time.monotonic() < until:
    for name in ("data", "data.old"):
        if not os.path.lexists(name):
            whole(name)
        if not os.path.lexists("link"):
            os.symlink(victim, "link")
        done += rename(-100, name.encode(), -100, b"link", 2) == 0
    if os.path.isdir("link") and not os.path.islink("link"):
        whole("link")
    time.sleep(0.0003)
print(done, flush=True)
"""
RACED_DEEDS = ("set_aside", "put_back", "survey", "log", "identify", "archive_rest", "fetch", "recover", "set_aside", "put_back")


def test_no_step_of_a_restore_is_raced_out_of_the_data(site: Site) -> None:
    host, postgres = site.replicas()[0], site.cluster.postgres
    spec = {
        "data": f"{PLACE}/data", "binaries": paths.postgres_binaries(postgres.version), "stanza": "none", "port": postgres.port,
        "wal": "", "label": "none", "timeline": 1, "options": [], "settings": {"restore_command": "/bin/false"}, "taken": [9],
        "to_the_end": False, "system": "none", "also": [], "pushes": [], "keep_marks": True,
    }  # fmt: skip
    site.on(host, f"mkdir -p {VICTIM}/log/deep/below && for d in {VICTIM} {VICTIM}/log {VICTIM}/log/deep/below;"
                  f" do echo untouched >$d/file; done; runuser -u postgres -- mkdir {PLACE}")  # fmt: skip
    listed = f"cd / && find {VICTIM} -printf '%p %U %m %y %s\\n' | sort"
    before = site.on(host, listed)
    arguments = shlex.join(["-", PLACE, "25", VICTIM])
    racing = site.watch(host, f"exec runuser -u postgres -- python3 {arguments}", EXCHANGE)
    deeds = 0
    try:
        until = time.monotonic() + 20
        while time.monotonic() < until:
            for n, name in enumerate(RACED_DEEDS):
                command, source = shipped("restore", {"do": name})
                given = source + json.dumps({**spec, "suffix": ".old" if n % 4 < 2 else ""})
                site.on(host, f"{command} >/dev/null 2>&1 || true", stdin=given)
                deeds += 1
        exchanged = int(racing.communicate(timeout=60)[0].split()[-1])
        after = site.on(host, listed)
    finally:
        racing.kill()
        site.on(host, f"systemctl stop pgquorum-restore; systemctl reset-failed pgquorum-restore;"
                f" rm -rf {PLACE} {VICTIM} /run/pgquorum-restore")  # fmt: skip
    print(f"{deeds} steps, {exchanged} exchanges")
    assert after == before
    assert deeds > len(RACED_DEEDS) and exchanged > 1000


# What user postgres writes into postmaster.pid, and what that names; the last of them is a process of that user's elsewhere.
NAMED = {
    "root's process in the data": "$(systemctl show -P MainPID roots)",
    "the first process": "1",
    "all processes": "-1",
    "no number": "self/../1",
    "nothing": "",
    "postgres's own process elsewhere": "$(systemctl show -P MainPID theirs)",
}
KILLS = (processes.PostgresKill.script, processes.PostgresStop.script)


def running(listed: str) -> list[str]:
    """The processes that ps lists with their states and that have not been stopped."""
    return [line.split()[0] for line in listed.splitlines() if not line.split()[1].startswith("T")]


@pytest.mark.parametrize("named", [*NAMED, "a pipe"])
def test_no_fault_signals_what_only_the_pid_file_says(site: Site, named: str) -> None:
    """That file is the service user's to write; the faults that stop or kill PostgreSQL are root's."""
    host = site.replicas()[0]
    file = f"{PLACE}/postmaster.pid"
    write = f"mkfifo {file}" if named == "a pipe" else f'echo "{NAMED[named]}" >{file}'
    site.on(
        host,
        f"runuser -u postgres -- mkdir {PLACE}; systemd-run -q --unit=roots -p WorkingDirectory={PLACE} sleep 600;"
        f" systemd-run -q --unit=theirs -p User=postgres -p WorkingDirectory=/ sleep 600; {write}; chown postgres: {file}",
    )
    states = "for unit in roots theirs patroni; do ps -o pid=,stat= -p $(systemctl show -P MainPID $unit); done"
    try:
        before = running(site.on(host, states))
        for script in KILLS:
            injected = HostScript(script, values={"data": PLACE}).injection
            done = site.lab.run(host, "timeout", "20", "sh", "-s", input=injected)
            assert done.returncode == 1 and "names no PostgreSQL that runs on it" in done.stderr, done
        assert running(site.on(host, states)) == before and len(before) == 3
    finally:
        site.on(host, f"systemctl stop roots theirs; systemctl reset-failed roots theirs 2>/dev/null; rm -rf {PLACE}")
    assert site.healthy()
