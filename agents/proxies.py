"""What a proxy host's programs of ours ask PgBouncer's console and HAProxy's admin socket. Sent along with those that do."""

from __future__ import annotations

import csv
import os
import pwd
import select
import socket
import struct
import subprocess
import time

CONSOLE = "pgbouncer"
ANSWER_SECONDS = 5.0
LOGIN_LOOK_SECONDS = 0.005


class Console:
    """The console of one process of PgBouncer, which lets its own user in by the socket. Raises OSError."""

    def __init__(self, user: str, directory: str, port: int) -> None:
        self._connection = socket.socket(socket.AF_UNIX)
        self._connection.settimeout(ANSWER_SECONDS)
        before = os.geteuid()
        os.seteuid(pwd.getpwnam(user).pw_uid)  # whom the kernel names to the other end
        try:
            self._connection.connect(f"{directory}/.s.PGSQL.{port}")
        finally:
            os.seteuid(before)
        words = b"".join(word.encode() + b"\0" for word in ("user", CONSOLE, "database", CONSOLE, ""))
        self._connection.sendall(struct.pack("!II", 8 + len(words), 196608) + words)
        self._received = b""
        self.answer()

    def ask(self, command: str) -> list[dict[str, str]]:
        self.send(command)
        return self.answer()

    def send(self, command: str) -> None:
        text = command.encode() + b"\0"
        self._connection.sendall(b"Q" + struct.pack("!I", 4 + len(text)) + text)

    def answers(self, seconds: float) -> bool:
        """Whether something has come within so many seconds."""
        return bool(self._received or select.select([self._connection], [], [], seconds)[0])

    def answer(self) -> list[dict[str, str]]:
        """The rows of an answer, to its end."""
        names: list[str] = []
        rows: list[dict[str, str]] = []
        problem = ""
        while True:
            kind, body = self._message()
            if kind == b"T":
                names = _names(body)
            elif kind == b"D":
                rows.append(dict(zip(names, _values(body), strict=True)))
            elif kind == b"E":
                said = {part[:1]: part[1:] for part in body.split(b"\0") if part}
                problem = said.get(b"M", b"refused").decode(errors="replace")
            if problem and kind in (b"E", b"Z"):  # an error at login is the last word
                raise OSError(problem)
            if kind == b"Z":
                return rows

    def _message(self) -> tuple[bytes, bytes]:
        head = self._exactly(5)
        return head[:1], self._exactly(struct.unpack("!I", head[1:])[0] - 4)

    def _exactly(self, count: int) -> bytes:
        while len(self._received) < count:
            if not (more := self._connection.recv(65536)):
                raise OSError("PgBouncer has closed its console")
            self._received += more
        found, self._received = self._received[:count], self._received[count:]
        return found


def _names(body: bytes) -> list[str]:
    names, rest = [], body[2:]
    while rest:
        name, _, rest = rest.partition(b"\0")
        names.append(name.decode())
        rest = rest[18:]
    return names


def _values(body: bytes) -> list[str]:
    values, rest = [], body[2:]
    while rest:
        size = struct.unpack("!i", rest[:4])[0]
        values.append(rest[4 : 4 + max(0, size)].decode(errors="replace"))
        rest = rest[4 + max(0, size) :]
    return values


def await_no_login(console: Console, seconds: float) -> None:
    """Returns in a moment when no connection to PostgreSQL is being made, or after so many seconds. Raises OSError.

    RECONNECT and PAUSE end such a connection as if the server had refused it. One may be begun between the answer and the command
    that follows at once; PgBouncer has no way to rule that out.
    """
    until = time.monotonic() + seconds
    while any(row["sv_login"] != "0" for row in console.ask("show pools")) and time.monotonic() < until:
        time.sleep(LOGIN_LOOK_SECONDS)


def arm(timer: str, seconds: int, command: str) -> None:
    """Has systemd run a shell command so many seconds from now, whatever becomes of this program. Raises OSError."""
    words = [f"--unit={timer}", f"--on-active={seconds}s", "--timer-property=AccuracySec=100ms", "sh", "-c", command]
    done = subprocess.run(["systemd-run", "--quiet", "--collect", *words], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"no timer that lets go, so nothing is held: {done.stderr.strip()} (`invoke traffic.resume`)")


def disarm(timer: str) -> None:
    subprocess.run(["systemctl", "stop", f"{timer}.timer"], capture_output=True, check=False)


class HAProxy:
    """Its admin socket. Raises OSError."""

    def __init__(self, path: str, frontend: str, backend: str) -> None:
        self._path, self._frontend, self._backend = path, frontend, backend

    def ask(self, command: str) -> str:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(ANSWER_SECONDS)
            connection.connect(self._path)
            connection.sendall(f"{command}\n".encode())
            with connection.makefile() as answer:
                return answer.read().strip()

    def change(self, command: str) -> None:
        """A change, which is answered with nothing."""
        if said := self.ask(command):
            raise OSError(f"HAProxy: {command}: {said}")

    def rows(self) -> list[dict[str, str]]:
        return list(csv.DictReader(self.ask("show stat").removeprefix("# ").splitlines()))

    def limit(self) -> int:
        """How many connections the frontend takes."""
        found = (row for row in self.rows() if row["pxname"] == self._frontend and row["svname"] == "FRONTEND")
        return int(next(found)["slim"])

    def set_limit(self, count: int) -> None:
        self.change(f"set maxconn frontend {self._frontend} {count}")

    def states(self) -> dict[str, str]:
        """Of those that writes go to, by name, HAProxy's own words, such as `UP`, `UP 2/3` and `DOWN`."""
        found = [row for row in self.rows() if row["pxname"] == self._backend and row["svname"] not in ("FRONTEND", "BACKEND")]
        return {row["svname"]: row["status"] for row in found}

    def servers(self) -> dict[str, bool]:
        """Whether they are up."""
        return {name: state.startswith("UP") for name, state in self.states().items()}

    def drained(self, backend: str) -> list[str]:
        """The servers of a backend that get no new connections for now."""
        return [row["svname"] for row in self.rows() if row["pxname"] == backend and row["status"].startswith("DRAIN")]

    def lead_to(self, name: str) -> None:
        """Has new connections go to that server alone, without waiting for the checks that will say the same."""
        for server, up in self.servers().items():
            if up != (server == name):
                self.change(f"set server {self._backend}/{server} health {'up' if server == name else 'down'}")
