"""Connections from addresses that are none of the cluster's hosts: as many as somebody likes, who says nothing on them."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address

from helpers import Site
from hosts import ADDRESS, FAMILY, HOSTS, SPEC

# Holds $3 connections to port $2 of the address $1 for $4 seconds, from as many of the addresses $6... in turn; says $5 (hex) on
# each of them, and begins anew with one that has ended. Prints how often it was let in.
STARVE = """
import socket, sys, time
target, port, count, seconds, word, *own = sys.argv[1:]
held, taken, until = [], 0, time.monotonic() + float(seconds)
family = socket.AF_INET6 if ":" in target else socket.AF_INET
while time.monotonic() < until:
    for n in range(int(count) - len(held)):
        s = socket.socket(family)
        try:
            if own:
                s.bind((own[n % len(own)], 0))
            s.settimeout(0.5)
            s.connect((target, int(port)))
            s.sendall(bytes.fromhex(word))
            s.setblocking(False)
            held.append(s)
            taken += 1
        except OSError:
            s.close()
        if time.monotonic() > until:
            break
    still = []
    for s in held:
        try:
            ended = s.recv(1) == b""
        except BlockingIOError:
            ended = False
        except OSError:
            ended = True
        (s.close if ended else lambda s=s: still.append(s))()
    held = still
    time.sleep(0.2)
print(taken)
"""
SSL_REQUEST = "0000000804d2162f"
# How long one lasts. A client that got through only when it ends would have given up before; the rest is for a machine that is
# busy, where the kernel may drop a client's first packet and have it sent again after 1, 3 and 7 s.
SECONDS = 20
PATIENT = 15


# In none of the networks of clients: of those that documents name.
ELSEWHERE = "2001:db8::77" if FAMILY == "ip6" else "192.0.2.77"


@contextmanager
def addresses(site: Site, host: str, count: int = 1) -> Iterator[list[str]]:
    """Further addresses of a host, by which it is some of the clients and none of the cluster's hosts."""
    network = SPEC.networks[0]
    own = [str(network[200 + n]) for n in range(count)]
    site.on(host, "; ".join(_given(address, network.prefixlen) for address in own))
    try:
        yield own
    finally:
        site.on(host, "; ".join(f"ip address del {address}/{network.prefixlen} dev eth0" for address in own))


@contextmanager
def elsewhere(site: Site, host: str) -> Iterator[str]:
    """An address of a host that is in none of the networks of clients, to which all others know the way."""
    others = [other for other in HOSTS if other != host]
    whole = f"{ELSEWHERE}/{ip_address(ELSEWHERE).max_prefixlen}"
    site.on(host, _given(ELSEWHERE, ip_address(ELSEWHERE).max_prefixlen))
    site.on_all(f"ip route add {whole} via {ADDRESS[host]}", others)
    try:
        yield ELSEWHERE
    finally:
        site.on_all(f"ip route del {whole}", others)
        site.on(host, f"ip address del {whole} dev eth0")


def _given(address: str, length: int) -> str:
    """The command that gives a host an address, to be used at once: of IPv6 the kernel else asks first whether anybody has it."""
    return f"ip address add {address}/{length} dev eth0{' nodad' if FAMILY == 'ip6' else ''}"


@contextmanager
def starving(
    site: Site, where: str, word: str, count: int, targets: list[tuple[str, int]], connections: int = 1000
) -> Iterator[None]:
    """So many connections at a time to each of some ports for SECONDS, by `count` addresses of a host, which say a word."""
    with addresses(site, where, count) as own:
        running = []
        try:
            for host, port in targets:
                arguments = shlex.join(["-", ADDRESS[host], str(port), str(connections), str(SECONDS), word, *own])
                running.append(site.watch(where, f"ulimit -n 4096; exec python3 {arguments}", STARVE))
            yield
            for process, target in zip(running, targets, strict=True):
                said, _ = process.communicate(timeout=10 * SECONDS)
                print(f"{target} {word or 'silent'} from {count}: let in {said.strip()} times")
        finally:
            for process in running:
                process.kill()
