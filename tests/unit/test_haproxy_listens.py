"""On which addresses HAProxy listens: on those that hosts and clients have, so that a host need not have IPv6."""

from __future__ import annotations

import re

import pytest
from clusters import cluster, hosts

from operations.managed import render

SIX = {name: {"address": f"fd00::{n}"} for n, name in enumerate(hosts(), 1)}


@pytest.mark.parametrize(
    ("addresses", "networks", "write"),
    [
        ({}, ("10.0.0.0/24",), [":5000 tcp-ut 30s"]),
        ({}, ("10.0.0.0/24", "fd00::/64"), [":5000 tcp-ut 30s", ":::5000 tcp-ut 30s v6only"]),
        (SIX, ("fd00::/64",), [":::5000 tcp-ut 30s v6only"]),
    ],
)
def test_it_listens_where_clients_can_come_from(
    addresses: dict[str, dict[str, str]], networks: tuple[str, ...], write: list[str]
) -> None:
    text = render("haproxy/haproxy.cfg.j2", cluster=cluster(addresses, client_networks=networks))
    assert [bind for bind in re.findall(r"(?m)^    bind (.*)$", text) if ":5000 " in bind] == write
    assert len(re.findall(r"(?m)^    bind ", text)) == 3 * len(write)
