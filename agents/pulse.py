"""Signs of life of other hosts: of their kernels alone, which answer when every program there hangs or waits for the processor.

A host is silent when it has answered no ping for LOST_SECONDS, nor, once there was doubt, any attempt to connect: a refusal is an
answer, too. One that has never answered is not called silent.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import struct
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from ipaddress import ip_address

LOOK_SECONDS = 0.1
DOUBT_SECONDS = 0.35
LOST_SECONDS = 1.2
# Whoever was not there itself for so long knows nothing of others.
STALL_SECONDS = 0.4
# How often at each look, and for how long an answer is waited for: each of them may be lost on the way.
KNOCKS, KNOCK_SECONDS = 3, 1.0
# Of a kernel, or of a filter on its host or on the way: where that answers for a host that is gone, the lease is waited for.
ANSWERS = (0, errno.ECONNREFUSED, errno.ECONNRESET)
# What the kernel need not hand over: all but answers to pings (ICMP_FILTER, linux/icmp.h; ICMP6_FILTER, RFC 3542).
ONLY_ANSWERS = {
    4: (255, 1, struct.pack("I", 0xFFFFFFFE)),
    6: (socket.IPPROTO_ICMPV6, 1, struct.pack("8I", *[0xFFFFFFFF] * 4, 0xFFFFFFFD, *[0xFFFFFFFF] * 3)),
}
MOST_PACKETS = 1000  # at each look: more are none of ours
ECHO = {4: (8, 0), 6: (128, 129)}  # question and answer, by IP's version


class Heard:
    """When hosts were last heard. `since` is when this began. Pure; times are monotonic seconds."""

    def __init__(self, names: Sequence[str], since: float) -> None:
        self._at: dict[str, float | None] = dict.fromkeys(names)
        self._looked = since

    def from_(self, name: str, now: float) -> None:
        self._at[name] = now

    def look(self, now: float) -> None:
        """To be called at every look. After a pause of our own all begins anew."""
        if now - self._looked > STALL_SECONDS:
            self._at = {name: at if at is None else now for name, at in self._at.items()}
        self._looked = now

    def quiet(self, name: str, now: float) -> float:
        """For how many seconds it has said nothing; 0 for one that never did."""
        at = self._at[name]
        return 0.0 if at is None else now - at


class Pulse:
    """`addresses` by host; `ports` are those that are knocked at. `changed` is called when somebody becomes silent, or is heard
    again, by the thread that looks."""

    def __init__(self, addresses: Mapping[str, str], ports: Sequence[int], changed: Callable[[], None]) -> None:
        self._addresses, self._ports, self._changed = dict(addresses), tuple(ports), changed
        self._names = {address: name for name, address in addresses.items()}
        self._heard = Heard(list(addresses), time.monotonic())
        self._silent: frozenset[str] = frozenset()
        self._looked = 0.0
        self._knocks: dict[socket.socket, tuple[str, float]] = {}
        self._number = 0
        versions = {ip_address(address).version for address in addresses.values()}
        self._pings = {version: self._socket(version) for version in versions}

    @staticmethod
    def _socket(version: int) -> socket.socket:
        """For pings and their answers. Raises OSError."""
        family, protocol = (socket.AF_INET, socket.IPPROTO_ICMP) if version == 4 else (socket.AF_INET6, socket.IPPROTO_ICMPV6)
        one = socket.socket(family, socket.SOCK_RAW, protocol)
        one.setblocking(False)
        one.setsockopt(*ONLY_ANSWERS[version])
        return one

    @property
    def silent(self) -> frozenset[str]:
        """Who is silent now; nobody, where this program has not looked for a moment."""
        return self._silent if time.monotonic() - self._looked < STALL_SECONDS else frozenset()

    def start(self) -> None:
        """Looks from now on."""
        threading.Thread(target=self._go_on, daemon=True).start()

    def _go_on(self) -> None:
        while True:
            try:
                self.look()
            except Exception as error:  # whatever it is, such as too many open files: then nobody is called silent
                self._silent = frozenset()
                print(f"other hosts can't be looked at: {error}", file=sys.stderr, flush=True)
                time.sleep(1)
            time.sleep(LOOK_SECONDS)

    def look(self) -> None:
        """Once. Raises OSError."""
        now = time.monotonic()
        for name in (*self._pinged(), *self._knocked(now)):
            self._heard.from_(name, now)
        self._heard.look(now)
        quiet = {name: self._heard.quiet(name, now) for name in self._addresses}
        silent = frozenset(name for name, seconds in quiet.items() if seconds > LOST_SECONDS)
        if len(silent) == len(quiet) > 1:  # who hears nobody knows of a network of its own that is gone, and of nothing else
            silent = frozenset()
        self._looked = now
        if silent != self._silent:
            self._silent = silent
            self._changed()
        self._number = (self._number + 1) % 65536
        for name, address in self._addresses.items():
            self._ping(address)
            if quiet[name] > DOUBT_SECONDS:
                self._knock(name, address, now)

    def _ping(self, address: str) -> None:
        version = ip_address(address).version
        with suppress(OSError):  # no way there is no answer
            self._pings[version].sendto(echo(version, os.getpid() & 0xFFFF, self._number), (address, 0))

    def _pinged(self) -> Iterator[str]:
        """Who has answered pings since."""
        for version, one in self._pings.items():
            with suppress(BlockingIOError):
                for _ in range(MOST_PACKETS):
                    packet, where = one.recvfrom(2048)
                    if where[0] in self._names and answered(version, packet, os.getpid() & 0xFFFF):
                        yield self._names[where[0]]

    def _knock(self, name: str, address: str, now: float) -> None:
        family = socket.AF_INET if ip_address(address).version == 4 else socket.AF_INET6
        for port in self._ports * KNOCKS:
            one = socket.socket(family, socket.SOCK_STREAM)
            one.setblocking(False)
            one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            if one.connect_ex((address, port)) in (*ANSWERS, errno.EINPROGRESS):
                self._knocks[one] = name, now
            else:
                one.close()

    def _knocked(self, now: float) -> Iterator[str]:
        """Who has answered attempts to connect since."""
        poll = select.poll()
        for one in self._knocks:
            poll.register(one, select.POLLOUT)
        there = {number for number, _ in poll.poll(0)} if self._knocks else set()
        for one, (name, since) in list(self._knocks.items()):
            if one.fileno() in there:
                if one.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) in ANSWERS:
                    yield name
            elif now - since < KNOCK_SECONDS:
                continue
            del self._knocks[one]
            one.close()


def echo(version: int, mine: int, number: int) -> bytes:
    """A ping. The kernel sums up those of IPv6 itself."""
    packet = struct.pack("!BBHHH", ECHO[version][0], 0, 0, mine, number)
    if version == 6:
        return packet
    total = sum(struct.unpack("!4H", packet))
    total = (total >> 16) + (total & 0xFFFF)
    return packet[:2] + struct.pack("!H", ~total & 0xFFFF) + packet[4:]


def answered(version: int, packet: bytes, mine: int) -> bool:
    """Whether a packet, as the socket has it, answers one of our pings."""
    said = packet[(packet[0] & 15) * 4 :] if version == 4 and packet else packet
    return len(said) >= 8 and said[0] == ECHO[version][1] and struct.unpack("!H", said[4:6])[0] == mine
