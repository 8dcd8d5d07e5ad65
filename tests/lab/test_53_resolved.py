"""A host that asks systemd-resolved for names, through the stub that Debian's package makes its resolv.conf lead to."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest
from commands import invoke, verified
from helpers import Site
from hosts import ADDRESS, HOSTS, ODD_ONE, PROXY, RESOLVING, SPEC, wait_until

pytestmark = [
    pytest.mark.usefixtures("healed"),
    pytest.mark.skipif(SPEC != ODD_ONE, reason="one lab has a host with systemd-resolved"),
]

DOMAIN = "cluster.example"
# A name server that knows the hosts in that domain ($2, addresses by name), and nothing else, at the address $1.
NAME_SERVER = r"""
import ipaddress, json, socket, sys
here, known = sys.argv[1], {name: ipaddress.ip_address(address) for name, address in json.loads(sys.argv[2]).items()}
server = socket.socket(socket.AF_INET6 if ":" in here else socket.AF_INET, socket.SOCK_DGRAM)
server.bind((here, 53))
while True:
    asked, client = server.recvfrom(4096)
    end, labels = 12, []
    while asked[end]:
        labels.append(asked[end + 1 : end + 1 + asked[end]].decode())
        end += 1 + asked[end]
    question, kind = asked[12 : end + 5], int.from_bytes(asked[end + 1 : end + 3], "big")
    address = known.get(".".join(labels).lower())
    answer = b""
    if address and kind == (1 if address.version == 4 else 28):
        answer = b"\xc0\x0c" + question[-4:] + (60).to_bytes(4, "big") + len(address.packed).to_bytes(2, "big") + address.packed
    flags = b"\x85\x80" if address else b"\x85\x83"
    server.sendto(asked[:2] + flags + b"\0\1" + (b"\0\1" if answer else b"\0\0") + b"\0\0\0\0" + question + answer, client)
"""


@pytest.fixture
def named(site: Site) -> Iterator[None]:
    """The hosts have names in a domain, which are in no file: the proxy host answers for them, and the stub asks it."""
    names = json.dumps({f"{name}.{DOMAIN}": ADDRESS[name] for name in HOSTS})
    own = "/etc/systemd/resolved.conf.d/test.conf"
    site.on(PROXY, "cat >/root/name_server.py", stdin=NAME_SERVER)
    site.on(PROXY, f"systemd-run --quiet --unit=name-server python3 /root/name_server.py {ADDRESS[PROXY]} '{names}'")
    site.on(RESOLVING, f"mkdir -p {own.rpartition('/')[0]}; printf '[Resolve]\\nDNS=%s\\n' {ADDRESS[PROXY]} >{own}")
    site.on(RESOLVING, "systemctl restart systemd-resolved")
    yield
    site.on(RESOLVING, f"rm {own}; systemctl restart systemd-resolved")
    site.on(PROXY, "systemctl stop name-server; rm /root/name_server.py")


@pytest.mark.long
def test_its_names_are_found_and_it_takes_part_like_any_other(site: Site, named: None) -> None:
    assert site.on(RESOLVING, "readlink -f /etc/resolv.conf") == "/run/systemd/resolve/stub-resolv.conf"
    for name in HOSTS:
        found = wait_until(lambda name=name: site.on(RESOLVING, f"getent ahosts {name}.{DOMAIN}"), f"{name} is found")
        assert found.split()[0] == ADDRESS[name]
        assert ADDRESS[name] in site.on(RESOLVING, f"runuser -u postgres -- getent ahosts {name}")
    assert site.changes() == 0
    verified(site)
    code, out, err = invoke(site, "preflight")
    assert code == 0, out + err
    # From its boot on, and in the primary's place.
    site.lab.off(RESOLVING)
    site.lab.on(RESOLVING)
    wait_until(site.healthy, "the host is back")
    if site.leader() != RESOLVING:
        code, out, err = invoke(site, "switchover", "--yes", "--to", RESOLVING)
        assert code == 0, out + err
        wait_until(site.healthy, "the former primary streams")
    for words in (["verify"], ["verify", "--from", RESOLVING]):
        code, out, err = invoke(site, *words)
        assert code == 0, out + err
    assert site.changes() == 0
