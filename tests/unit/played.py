"""PgBouncer's console and HAProxy's admin socket, played, for programs that run on proxy hosts; and systemd's commands."""

from __future__ import annotations

import os
import socket
import struct
import threading
from pathlib import Path
from typing import Any

import pytest


class Played:
    """A PgBouncer's console and a HAProxy's admin socket. `paused`: what SHOW STATE says; `stuck`: PAUSE comes to no end. To so
    many questions a connection to PostgreSQL is still being made (`begun`); PAUSE and RECONNECT end it, and `failed` is how often
    PgBouncer took that for a server that refuses (janitor.c, per_loop_pause; objects.c, tag_pool_dirty)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.paused = self.stuck = False
        self.begun = self.failed = 0
        self.lifetime, self.busy = "300", False  # whether a client keeps its connection
        self.limit, self.up = 100, {"db1": True, "db2": False}
        self.asked: list[str] = []
        self._serve(folder / ".s.PGSQL.6432", self._console)
        self._serve(folder / "admin.sock", self._admin)

    def _serve(self, path: Path, talk: Any) -> None:
        server = socket.socket(socket.AF_UNIX)
        server.bind(str(path))
        server.listen()

        def accept() -> None:
            while True:
                connection, _ = server.accept()
                threading.Thread(target=talk, args=(connection,), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()

    def _console(self, connection: socket.socket) -> None:
        with connection:
            size = struct.unpack("!I", connection.recv(4))[0]
            assert connection.recv(size - 4).endswith(b"user\0pgbouncer\0database\0pgbouncer\0\0")
            connection.sendall(message(b"R", struct.pack("!I", 0)) + message(b"S", b"server_version\x001.26\0") + READY)
            while head := received(connection):
                command = connection.recv(struct.unpack("!I", head[1:])[0] - 4).rstrip(b"\0").decode()
                self.asked.append(command)
                connection.sendall(self._answer(command))

    def _answer(self, command: str) -> bytes:
        if command == "pause" and self.paused:
            return message(b"E", b"SERROR\0Malready suspended/paused\0\0") + READY
        if command == "resume" and not self.paused:
            return message(b"E", b"SERROR\0Mpooler is not paused/suspended\0\0") + READY
        if command in ("pause", "reconnect"):
            self.failed, self.begun = self.failed + (self.begun > 0), 0
        if command in ("pause", "resume"):
            self.paused = command == "pause"
            return b"" if self.paused and self.stuck else message(b"C", b"PAUSE\0") + READY
        if command.startswith("set server_lifetime = "):
            self.lifetime = command.split()[-1]
            return message(b"C", b"SET\0") + READY
        if command == "show config":
            return table([{"key": "server_lifetime", "value": self.lifetime}]) + message(b"C", b"SHOW\0") + READY
        if command == "reconnect":
            return message(b"C", b"RECONNECT\0") + READY
        if command == "show pools":
            told = table([{"database": "app", "sv_login": "1" if self.begun > 0 else "0"}])
            self.begun = max(0, self.begun - 1)
            return told + message(b"C", b"SHOW\0") + READY
        rows = {
            "show state": [{"key": "paused", "value": "yes" if self.paused else "no"}],
            "show databases": [{"name": "app", "paused": "0"}],
            "show clients": [{"ptr": "0x1", "addr": "10.0.0.77"}],
            "show servers": [
                {
                    "ptr": "0x2",
                    "connect_time": "t1",
                    "state": "active",
                    "link": "0x1",
                    "remote_pid": "4711",
                    "user": "app",
                    "database": "shop",
                },
                {
                    "ptr": "0x3",
                    "connect_time": "t0",
                    "state": "idle",
                    "link": "",
                    "remote_pid": "4712",
                    "user": "app",
                    "database": "shop",
                },
            ],
        }[command]
        if command == "show servers" and self.lifetime == "0":
            rows = [one for one in rows if one["state"] == "active" and self.busy] or [
                {**rows[1], "ptr": "0x4", "connect_time": "t2"}
            ]
        return table(rows) + message(b"C", b"SHOW\0") + READY

    def _admin(self, connection: socket.socket) -> None:
        with connection:
            command = connection.makefile().readline().strip()
            self.asked.append(command)
            if command.startswith("set maxconn frontend writes "):
                self.limit = int(command.split()[-1])
            elif command.startswith("set server write/"):
                self.up[command.split("/")[1].split()[0]] = command.endswith("up")
            else:
                servers = "".join(f"write,{name},{'UP' if up else 'DOWN'},\n" for name, up in self.up.items())
                said = f"# pxname,svname,status,slim\nwrites,FRONTEND,OPEN,{self.limit}\n{servers}"
                connection.sendall(f"{said}write,BACKEND,UP,200\n\n".encode())


def received(connection: socket.socket) -> bytes:
    """The head of the next message; nothing at the end, however that comes."""
    try:
        return connection.recv(5)
    except ConnectionResetError:
        return b""


def message(kind: bytes, body: bytes) -> bytes:
    return kind + struct.pack("!I", 4 + len(body)) + body


def table(rows: list[dict[str, str]]) -> bytes:
    names = b"".join(name.encode() + b"\0" + bytes(18) for name in rows[0])
    told = message(b"T", struct.pack("!H", len(rows[0])) + names)
    for row in rows:
        values = b"".join(struct.pack("!i", len(value)) + value.encode() for value in row.values())
        told += message(b"D", struct.pack("!H", len(row)) + values)
    return told


READY = message(b"Z", b"I")


def with_systemd(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    """With systemd's commands played, too: what they are told is in `systemd`."""
    for name in ("systemd-run", "systemctl"):
        (folder / name).write_text(f'#!/bin/sh\necho "{name} $*" >>{folder}/systemd\n')
        (folder / name).chmod(0o700)
    monkeypatch.setenv("PATH", f"{folder}:{os.environ['PATH']}")
    return Played(folder)
