"""Clusters to test with: a small one, and the same with something changed."""

from __future__ import annotations

from typing import Any

from cluster.building import RawHost, build
from cluster.errors import SettingsError
from cluster.topology import Cluster

DATABASES = {"db1": "10.0.0.1", "db2": "10.0.0.2", "db3": "10.0.0.3"}
PROXIES = {"proxy1": "10.0.0.9"}
SECOND = {"proxy2": "10.0.0.10"}
KEEPERS = {"keep1": "10.0.0.8"}
NEEDED = {"cluster_name": "shop", "client_networks": ["10.0.0.0/24"]}


def hosts(
    of: dict[str, dict[str, Any]] | None = None, *, backup: bool = False, two: bool = False, **settings: Any
) -> dict[str, RawHost]:
    """Three database hosts and a proxy, or `two`, with `backup` one that keeps backups; `settings` set for all, `of` has data of
    single hosts."""
    said = NEEDED | settings
    kept = [(KEEPERS, {"backup"})] if backup else []
    inventory = {
        name: RawHost(frozenset(groups), {"address": address, **said})
        for addresses, groups in ((DATABASES, {"etcd", "postgres"}), (PROXIES | (SECOND if two else {}), {"haproxy"}), *kept)
        for name, address in addresses.items()
    }
    for name, data in (of or {}).items():
        inventory[name].data.update(data)
    return inventory


def cluster(of: dict[str, dict[str, Any]] | None = None, *, backup: bool = False, two: bool = False, **settings: Any) -> Cluster:
    """The cluster of `hosts`."""
    return build(hosts(of, backup=backup, two=two, **settings))


def problems(inventory: dict[str, RawHost]) -> list[str]:
    """What is wrong with an inventory; empty when nothing is."""
    try:
        build(inventory)
    except SettingsError as error:
        return list(error.problems)
    return []
