"""Tells what changes on one host, as it happens: one JSON line per change on stdout. Runs on the host, as root.

Each line is {"t": seconds of this host's monotonic clock, "what": ..., "value": ...}; the first of each kind is the state
at the start, but for lines of the logs ("log"), which begin with what is new. It ends when its input does; a line of input
is answered at once: so the operator compares clocks.
"""

from __future__ import annotations

import base64
import csv
import json
import os
import re
import select
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from agents import https

POLL_SECONDS = 0.05
AGAIN_SECONDS = 0.2
# A server that takes this long to say what it is does not answer.
SILENT_SECONDS = 2
# A line that differs in numbers only from one that came this much earlier tells nothing new; and nobody reads more per second.
REPEAT_SECONDS = 10
MOST_PER_SECOND = 20
MOST_CHARACTERS = 300

# What lines begin with: Patroni's and PostgreSQL's time and process, HAProxy's own level.
PREFIX = re.compile(r"^(\d{4}-\d\d-\d\d \d\d:\d\d:\d\d[.,]\d+ (\w+ )?(\[\d+\] )?|\[\w+\] +\(\d+\) : )")

QUERY = (
    "SELECT json_build_object('primary', NOT pg_is_in_recovery(), 'streaming', (SELECT coalesce(json_agg("
    "application_name ORDER BY application_name), '[]') FROM pg_stat_replication WHERE state = 'streaming'));\n"
)

last: dict[str, Any] = {}
children: dict[str, subprocess.Popen[str]] = {}
speaking = threading.Lock()


def tell(what: str, value: Any) -> None:
    """Says a value that differs from the last one of its kind."""
    now = time.monotonic()
    with speaking:
        if what == "pong" or what not in last or last[what] != value:
            last[what] = value
            print(json.dumps({"t": now, "what": what, "value": value}), flush=True)


class Sieve:
    """Keeps a flood of lines away."""

    def __init__(self) -> None:
        self.seen: dict[str, float] = {}
        self.recent: list[float] = []

    def lets_through(self, text: str, at: float) -> bool:
        shape = re.sub(r"\d+|0x[0-9a-f]+", "#", text)
        before = self.seen.get(shape)
        self.seen[shape] = at
        self.recent = [one for one in self.recent if one > at - 1]
        if len(self.recent) >= MOST_PER_SECOND or (before is not None and at - before < REPEAT_SECONDS):
            return False
        self.recent.append(at)
        return True


def log_line(entry: dict[str, Any]) -> tuple[float, str, str] | None:
    """Time, unit and text of a journal's entry, without the time that the program wrote itself. None for what has no text."""
    text = entry.get("MESSAGE")
    if isinstance(text, list):  # not UTF-8
        text = bytes(text).decode(errors="replace")
    if not isinstance(text, str):
        return None
    unit = (entry.get("UNIT") or entry.get("_SYSTEMD_UNIT") or "").removesuffix(".service")
    if unit == "etcd" and text.startswith("{"):
        with suppress(ValueError):
            said = json.loads(text)
            text = " ".join(filter(None, (said.get("msg"), said.get("error"))))
    return int(entry["__MONOTONIC_TIMESTAMP"]) / 1e6, unit, PREFIX.sub("", text)[:MOST_CHARACTERS]


def journal(spec: dict[str, Any]) -> None:
    """What the units wrote, as far as it matches the expression given for each."""
    wanted = {unit: re.compile(expression) for unit, expression in spec["units"].items()}
    sieve = Sieve()
    units = [f"--unit={unit}.service" for unit in wanted]
    fields = "--output-fields=MESSAGE,_SYSTEMD_UNIT,UNIT"
    command = ["journalctl", "--quiet", "--follow", "--lines=0", "--output=json", fields, *units]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True) as process:
        children["journal"] = process
        assert process.stdout
        for line in process.stdout:
            if (said := log_line(json.loads(line))) is None:
                continue
            at, unit, text = said
            if unit in wanted and wanted[unit].search(text) and sieve.lets_through(text, at):
                with speaking:
                    print(json.dumps({"t": at, "what": "log", "value": {"unit": unit, "text": text}}), flush=True)
    raise OSError("the journal ended")


def etcd(spec: dict[str, Any]) -> None:
    """The `keys` of Patroni's that are asked for, or the leader key, from etcd's own watch: the text, or null once gone."""
    tls = https.tls_context(**spec["tls"])
    names = {base64.b64encode(f"{spec['prefix']}{name}".encode()).decode(): name for name in spec.get("keys", ["leader"])}
    watched = ""
    for key, name in names.items():
        now = https.ask(spec["url"], "/v3/kv/range", {"key": key, "serializable": True}, tls, None)
        tell("etcd", True)
        tell(name, base64.b64decode(now["kvs"][0]["value"]).decode() if "kvs" in now else None)
        watched += json.dumps({"create_request": {"key": key, "start_revision": int(now["header"]["revision"]) + 1}})
    with https.request(spec["url"], "/v3/watch", watched.encode(), tls, None) as answer:
        for line in answer:
            for event in json.loads(line).get("result", {}).get("events", []):
                gone = event.get("type") == "DELETE"
                tell(names[event["kv"]["key"]], None if gone else base64.b64decode(event["kv"]["value"]).decode())
    raise OSError("the watch ended")


def postgres(spec: dict[str, Any]) -> None:
    """Whether this server is out of recovery, and who streams from it, over one local session."""
    command = [spec["psql"], "-XAtq", "-h", spec["sockets"], "-p", str(spec["port"]), "postgres"]
    with subprocess.Popen(
        ["runuser", "-u", "postgres", "--", *command],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, bufsize=1,
    ) as psql:  # fmt: skip
        children["postgres"] = psql
        assert psql.stdin and psql.stdout
        while True:
            psql.stdin.write(QUERY)
            while not select.select([psql.stdout], [], [], SILENT_SECONDS)[0]:
                tell("primary", None)
            answer = psql.stdout.readline()
            if not answer:
                raise OSError("the session ended")
            for what, value in json.loads(answer).items():
                tell(what, value)
            time.sleep(POLL_SECONDS)


def haproxy(spec: dict[str, Any]) -> None:
    """To which servers HAProxy sends writes and reads, and whose checks fail though it still does."""
    while True:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(5)
            connection.connect(spec["socket"])
            connection.sendall(b"show stat\n")
            with connection.makefile() as answer:
                rows = list(csv.DictReader(answer.read().lstrip("# ").splitlines()))
        servers = [row for row in rows if row["svname"] not in ("FRONTEND", "BACKEND")]
        up = [row for row in servers if row["status"].startswith("UP")]
        for what, backend in (("routed", "write"), ("reads", "read")):
            tell(what, sorted(row["svname"] for row in up if row["pxname"] == backend))
        # `UP 2/3`: one more failed check than passed ones, before it is DOWN.
        tell("failing", sorted(f"{row['pxname']}/{row['svname']}" for row in up if "/" in row["status"]))
        time.sleep(POLL_SECONDS)


# What is told of a server that does not answer.
SILENCE: dict[str, dict[str, Any]] = {
    "etcd": {"etcd": False},
    "postgres": {"primary": None},
    "haproxy": {"routed": None, "reads": None},
}


def for_ever(watch: Callable[[dict[str, Any]], None], spec: dict[str, Any]) -> None:
    while True:
        try:
            watch(spec)
        except Exception as error:  # the server may come back: what it says then is what is waited for
            for what, value in SILENCE.get(watch.__name__, {}).items():
                tell(what, value)
            sys.stderr.write(f"{watch.__name__}: {error}\n")
        time.sleep(AGAIN_SECONDS)


WATCHES = {f.__name__: f for f in (etcd, postgres, haproxy, journal)}

if __name__ == "__main__":
    for name, spec in json.loads(sys.argv[1]).items():
        threading.Thread(target=for_ever, args=(WATCHES[name], spec), daemon=True).start()
    while sys.stdin.buffer.readline():
        tell("pong", None)
    for child in children.values():
        child.terminate()
    os._exit(0)
