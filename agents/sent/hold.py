"""Keeps clients waiting at this proxy while the primary changes, and lets them go. Runs on the host, as root.

PgBouncer's processes are paused (their clients' next queries wait), and HAProxy's port for writes takes no new connections (they
wait in the kernel). Whatever happens to the operator, nobody waits for long: the end of this program's input lets all go, and so
does a timer of systemd's that is armed before anything is held, should this program be gone, too.

The argument has `haproxy`, its admin socket; `frontend`, the `limit` of connections that it has by the settings, and `backend`;
`through`, address and port of the frontend as the pools dial it, or null; `pools`, by name the `socket` (a directory), `port` and
`unit` of a process, and the `user` who may command it; `patience` and `bound` in seconds; the `timer`'s name; `note`, a file that
says who holds (`owner`). Commands are lines of input, answers lines of JSON on stdout:

ready          before any command
busy           which of PostgreSQL's sessions the pools have in a transaction
hold           arms the timer, pauses the pools, holds new connections: `held`, or `stuck`: who was in a transaction for too long
still          says so while it goes on: it ends by itself when the timer does
open NAME      lets new connections go on, to the server NAME alone, and waits until one gets there
resume         lets the pools go on, and ends
release        lets all go that anybody holds here, says what, and ends
"""

from __future__ import annotations

import json
import os
import queue
import socket
import struct
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path
from typing import Any

from agents.proxies import ANSWER_SECONDS, Console, HAProxy, arm, await_no_login, disarm

LOOK_SECONDS = 0.02
# For connections that are being made to come about, before the pools are paused.
LOGIN_SECONDS = 1.0
SSL_REQUEST = struct.pack("!II", 8, 80877103)
# States of PgBouncer's connections to PostgreSQL in which they are somebody's.
AT_WORK = ("active", "active_cancel")


class Gone(Exception):
    """Whoever commands this program is not there any more."""


class Clients:
    """What is held here."""

    def __init__(self, spec: dict[str, Any], commands: Commands) -> None:
        self._spec, self._commands = spec, commands
        self._haproxy = HAProxy(spec["haproxy"], spec["frontend"], spec["backend"])
        self._pools = {name: Console(spec["user"], one["socket"], one["port"]) for name, one in spec["pools"].items()}
        self._paused: list[str] = []
        self._armed = False
        self._until = 0.0  # when the timer lets all go, once it is armed (monotonic)
        self._limit = 0

    def left(self) -> float | None:
        """Seconds until the timer lets all go; None before it is armed."""
        return max(self._until - time.monotonic(), 0) if self._armed else None

    def busy(self) -> list[dict[str, Any]]:
        """The sessions of PostgreSQL's that a client of the pools has now, with that client's address."""
        found = []
        for name, one in self._spec["pools"].items():
            console = Console(self._spec["user"], one["socket"], one["port"])  # the other one may be waiting for an answer
            clients = {row["ptr"]: row for row in console.ask("show clients")}
            for row in console.ask("show servers"):
                if row["state"] in AT_WORK and row["link"]:
                    client = clients.get(row["link"], {}).get("addr", "")
                    session = {"pid": int(row["remote_pid"]), "role": row["user"], "database": row["database"]}
                    found.append({"pool": name, "client": client, **session})
        return found

    def hold(self) -> list[dict[str, Any]] | None:
        """None when all is held, else who stands in the way."""
        if (limit := self._haproxy.limit()) == 0:
            raise OSError(f"HAProxy's frontend {self._spec['frontend']!r} takes no new connections as it is")
        self._arm(limit)
        deadline = time.monotonic() + self._spec["patience"]
        logins = time.monotonic() + min(LOGIN_SECONDS, self._spec["patience"])
        for name, pool in self._pools.items():
            await_no_login(pool, max(logins - time.monotonic(), 0))
            pool.send("pause")
            self._paused.append(name)  # it may be, from here on
        for name, pool in self._pools.items():
            while not pool.answers(LOOK_SECONDS):
                self._commands.refuse_gone()
                if time.monotonic() > deadline:
                    return self.busy()
            try:
                pool.answer()
            except OSError as error:
                self._paused.remove(name)  # by somebody else
                raise OSError(f"{name}: {error}") from None
        if not self.left():
            raise OSError("it took so long that all flows again by itself")
        self._limit = limit
        self._haproxy.set_limit(0)
        return None

    def open(self, name: str) -> None:
        """New connections go on. Raises OSError where they don't get to PostgreSQL."""
        deadline = time.monotonic() + self._spec["bound"]
        while not self._alone(name):
            self._commands.refuse_gone()
            if time.monotonic() > deadline:
                raise OSError(f"HAProxy does not send writes to {name} alone")
            time.sleep(LOOK_SECONDS)
        self._let_in()
        while not self._gets_through():
            self._commands.refuse_gone()
            if time.monotonic() > deadline:
                raise OSError("no connection gets through to PostgreSQL")
            time.sleep(LOOK_SECONDS)

    def _alone(self, name: str) -> bool:
        with suppress(OSError):  # it may be starting
            self._haproxy.lead_to(name)
            return [server for server, up in self._haproxy.servers().items() if up] == [name]
        return False

    def _gets_through(self) -> bool:
        """Whether PostgreSQL answers through the frontend, where this host may come in."""
        if not self._spec["through"]:
            return True
        with suppress(OSError), socket.create_connection(tuple(self._spec["through"]), timeout=ANSWER_SECONDS) as connection:
            connection.sendall(SSL_REQUEST)
            return connection.recv(1) == b"S"
        return False

    def _let_in(self) -> None:
        if self._limit:
            self._haproxy.set_limit(self._limit)
            self._limit = 0

    def let_go(self) -> list[str]:
        """Everything that is held; says what could not be. Where that is anything, the timer is left to try it once more."""
        problems = []
        try:
            self._let_in()
        except OSError as error:
            problems.append(str(error))
        for name in list(self._paused):
            one = self._spec["pools"][name]
            try:
                Console(self._spec["user"], one["socket"], one["port"]).ask("resume")
                self._paused.remove(name)
            except OSError as error:
                if "not paused" not in str(error):  # it was restarted, or somebody was quicker
                    problems.append(f"{name}: {error}")
        if self._armed and not problems:
            self._disarm()
        return problems

    def release(self) -> list[str]:
        """Lets all go that is held, whoever holds it; says what that was."""
        told = []
        if self._haproxy.limit() == 0:
            self._haproxy.set_limit(self._spec["limit"])
            told.append(f"frontend {self._spec['frontend']} takes new connections again")
        for server in self._haproxy.drained("read"):
            self._haproxy.change(f"set server read/{server} state ready")
            told.append(f"{server} gets reads again")
        for name, pool in self._pools.items():
            state = {row["key"]: row["value"] for row in pool.ask("show state")}
            paused = [f'resume "{row["name"]}"' for row in pool.ask("show databases") if row["paused"] != "0"]
            for command in [*(["resume"] if state["paused"] == "yes" else []), *paused]:
                pool.ask(command)
                told.append(f"{name}: {command}")
        self._disarm()
        return told

    def _arm(self, limit: int) -> None:
        """From now on all flows again after `bound` seconds, whatever becomes of this program."""
        units = " ".join(one["unit"] for one in self._spec["pools"].values())
        go = f"echo 'set maxconn frontend {self._spec['frontend']} {limit}' | socat -t 2 stdio {self._spec['haproxy']}"
        resume = f"systemctl kill --signal=USR2 {units}; " if units else ""  # which is PgBouncer's RESUME
        command = f"{resume}{go}; rm -f {self._spec['note']}"
        self._until = time.monotonic() + self._spec["bound"]
        arm(self._spec["timer"], self._spec["bound"], command)
        self._armed = True
        Path(self._spec["note"]).write_text(self._spec["owner"])

    def _disarm(self) -> None:
        disarm(self._spec["timer"])
        Path(self._spec["note"]).unlink(missing_ok=True)
        self._armed = False


class Commands:
    """The lines of input, as they come."""

    def __init__(self) -> None:
        self._lines: queue.SimpleQueue[str] = queue.SimpleQueue()
        self._gone = threading.Event()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        for line in sys.stdin.buffer:
            self._lines.put(line.decode().strip())
        self._gone.set()
        self._lines.put("")

    def next(self, seconds: float | None) -> str:
        """Empty at the end. Raises OSError where none has come by then: whoever commands this sleeps, or is gone without a
        word, and what comes later would be obeyed in another time."""
        try:
            return self._lines.get(timeout=seconds)
        except queue.Empty:
            raise OSError("no command has come until all flows again by itself") from None

    def refuse_gone(self) -> None:
        if self._gone.is_set():
            raise Gone


def say(**answer: Any) -> None:
    with suppress(OSError):  # nobody listens any more: what is to be done is done all the same
        print(json.dumps(answer), flush=True)


def obey(clients: Clients, commands: Commands) -> None:
    """Does what it is told until that is over."""
    while command := commands.next(clients.left()):
        word, _, name = command.partition(" ")
        if word == "busy":
            say(busy=clients.busy())
        elif word == "hold":
            stuck = clients.hold()
            if stuck is not None:
                return say(stuck=stuck, problems=clients.let_go())
            say(held=True)
        elif word == "still":
            say(still=True)
        elif word == "open":
            clients.open(name)
            say(open=True)
        elif word == "release":
            return say(released=clients.release())
        else:
            return say(resumed=True, problems=clients.let_go())
    return None


def main(spec: dict[str, Any]) -> None:
    commands = Commands()
    clients: Clients | None = None
    try:
        clients = Clients(spec, commands)
        say(ready=True)
        obey(clients, commands)
    except OSError as error:
        say(problem=str(error))
    except Gone:
        pass
    finally:
        if clients:
            clients.let_go()


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
    os._exit(0)  # the thread that reads would keep it
