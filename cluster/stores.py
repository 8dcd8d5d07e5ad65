"""What a host is asked about repositories that lie elsewhere before a deploy changes anything, and what its answer means. Pure.

The program is agents/sent/store.py.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from .repositories import Place, authorities
from .topology import Cluster
from .vault import Vault


def asked_of(cluster: Cluster, vault: Vault) -> dict[str, dict[str, Any]]:
    """By name, what each repository elsewhere is, with its keys: for the program's input alone. Raises ClusterError where a key
    is missing."""
    return {place.name: _spec(place, vault.repository_keys(place)) for place in cluster.repositories if place.elsewhere}


def _spec(place: Place, keys: Mapping[str, str]) -> dict[str, Any]:
    said = place.settings
    spec: dict[str, Any] = {"kind": place.kind, "path": place.path, "keys": dict(keys)}
    if place.kind == "s3":
        given = {"endpoint": said.endpoint, "bucket": said.bucket, "region": said.region, "uri_style": said.uri_style or "host"}
        return {**spec, **given, "authorities": authorities(place) if said.ca_file else None}
    return {**spec, "host": said.host, "port": said.port or 22, "user": said.user, "host_key": said.host_key}


def wrong(output: str, error: str) -> Iterator[str]:
    """From the program's answer, a sentence for each repository that can't be used as the settings say."""
    try:
        told = json.loads(output)
    except ValueError:
        yield f"backup_repositories could not be looked at: {error.strip().splitlines()[-1] if error.strip() else 'no answer'}"
        return
    for name, why in told.items():
        if why:
            yield f"backup_repositories[{name}]: {why}"
