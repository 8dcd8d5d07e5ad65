"""Signs of life of other hosts, without a network: what is heard, when, and what an answer looks like."""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest

from agents import pulse
from agents.pulse import Heard, answered, echo


def test_who_never_answered_is_not_quiet() -> None:
    heard = Heard(["db1", "db2"], 100.0)
    heard.from_("db1", 100.1)
    assert heard.quiet("db2", 150.0) == 0.0
    assert heard.quiet("db1", 101.6) == pytest.approx(1.5)


def test_after_a_pause_of_its_own_a_host_says_nothing_of_others() -> None:
    heard = Heard(["db1"], 100.0)
    heard.from_("db1", 100.0)
    for at in (100.3, 100.6, 100.9):
        heard.look(at)
    assert heard.quiet("db1", 100.9) == pytest.approx(0.9)
    heard.look(103.0)
    assert heard.quiet("db1", 103.0) == 0.0


def test_a_ping_of_ipv4_has_its_sum() -> None:
    words = struct.unpack("!4H", echo(4, 0x1234, 7))
    total = sum(words)
    assert (total & 0xFFFF) + (total >> 16) == 0xFFFF
    assert words[0] == 0x0800 and words[2:] == (0x1234, 7)
    assert echo(6, 0x1234, 7)[:4] == b"\x80\x00\x00\x00"


@pytest.mark.parametrize(
    ("version", "packet", "mine"),
    [
        (4, b"\x45" + bytes(19) + struct.pack("!BBHHH", 0, 0, 9, 5, 1), True),
        (4, b"\x46" + bytes(23) + struct.pack("!BBHHH", 0, 0, 9, 5, 1), True),  # with an option
        (4, b"\x45" + bytes(19) + struct.pack("!BBHHH", 0, 0, 9, 6, 1), False),  # of another program
        (4, b"\x45" + bytes(19) + struct.pack("!BBHHH", 3, 1, 9, 5, 1), False),  # unreachable, says a router
        (4, b"\x45" + bytes(19), False),
        (4, b"", False),
        (6, struct.pack("!BBHHH", 129, 0, 9, 5, 1), True),
        (6, struct.pack("!BBHHH", 128, 0, 9, 5, 1), False),
    ],
)
def test_what_answers_a_ping(version: int, packet: bytes, mine: bool) -> None:
    assert answered(version, packet, 5) is mine


class NoPings(pulse.Pulse):
    """Knocks only: pings need a right that tests may not have."""

    @staticmethod
    def _socket(version: int) -> socket.socket:
        return socket.socket(socket.AF_INET, socket.SOCK_DGRAM)

    def _ping(self, address: str) -> None:
        pass

    def _pinged(self) -> Iterator[str]:
        return iter(())


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [100.0]
    monkeypatch.setattr(pulse.time, "monotonic", lambda: now[0])
    return now


def test_a_refused_connection_is_a_sign_of_life(clock: list[float]) -> None:
    with closing(socket.socket()) as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
    looks: list[frozenset[str]] = []
    one = NoPings({"db1": "127.0.0.1"}, [port], lambda: looks.append(one.silent))
    one._heard.from_("db1", 100.0)
    for _ in range(40):
        clock[0] += 0.1
        one.look()
    assert looks == [] and one.silent == frozenset()


def test_who_answers_nothing_becomes_silent_and_is_heard_again(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse.Pulse, "_knock", lambda *_: None)
    looks: list[frozenset[str]] = []
    one = NoPings({"db1": "127.0.0.1", "db2": "127.0.0.2"}, [9], lambda: looks.append(one.silent))
    for name in ("db1", "db2"):
        one._heard.from_(name, 100.0)
    for _ in range(20):
        clock[0] += 0.1
        one._heard.from_("db2", clock[0])
        one.look()
    assert looks == [frozenset({"db1"})]
    one._heard.from_("db1", clock[0])
    one.look()
    assert looks[1:] == [frozenset()]


def test_who_hears_nobody_says_nothing_of_others(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be its own network that is gone."""
    monkeypatch.setattr(pulse.Pulse, "_knock", lambda *_: None)
    looks: list[frozenset[str]] = []
    one = NoPings({"db1": "127.0.0.1", "db2": "127.0.0.2"}, [9], lambda: looks.append(one.silent))
    for name in ("db1", "db2"):
        one._heard.from_(name, 100.0)
    for _ in range(30):
        clock[0] += 0.1
        one.look()
    assert looks == []


def test_what_was_seen_a_while_ago_is_not_believed(clock: list[float], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pulse.Pulse, "_knock", lambda *_: None)
    one = NoPings({"db1": "127.0.0.1"}, [9], lambda: None)
    one._heard.from_("db1", 100.0)
    for _ in range(20):
        clock[0] += 0.1
        one.look()
    assert one.silent == {"db1"}
    clock[0] += 0.5
    assert one.silent == frozenset()
