"""What a host is asked about repositories that lie elsewhere before a deploy changes anything, and what its answer means. Pure.

The program is agents/sent/store.py.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

from . import paths
from .repositories import Place, authorities
from .shared import PREFIX
from .topology import Cluster
from .vault import Vault

CIPHER = f"{PREFIX}backup_cipher"  # as what a deploy notes its digest
USED = "used"
# A line of pgBackRest's configuration that says where a repository lies.
_PLACED = re.compile(r"repo(\d+)-(path|s3-bucket|s3-endpoint|sftp-host)=(\S+)")


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


def used_command(cluster: Cluster) -> str:
    """The command for the host that keeps backups by whose answer `cipher_problems` tells which repositories are in use."""
    places = " ".join(f"{cluster.backup.directory}/{kind}/{cluster.name}" for kind in ("archive", "backup"))
    return (
        f'[ -z "$(find {places} -type f -print -quit 2>/dev/null)" ] || echo {USED}; cat {paths.BACKUP_CONFIG} 2>/dev/null; true'
    )


def cipher_problems(cluster: Cluster, directory: str, answers: Mapping[str, list[str]]) -> Iterator[str]:
    """Why the password that backups are encrypted with is not to be changed; nothing where all repositories are new. `answers`
    are those to used_command of the hosts of this run that keep backups. A place elsewhere of which nobody can tell is in use."""
    said = [answers[host.name] for host in cluster.backup_hosts if host.name in answers]
    used = [place.name for place in cluster.repositories if not said or any(_used(place, lines) for lines in said)]
    if used:
        keepers = ", ".join(host.name for host in cluster.backup_hosts)
        yield (
            f"the password of backup_cipher in {directory} (or the environment) is another one than what was deployed, and by it"
            f" nobody could read what lies in {', '.join(used)} (backup_repositories): bring the old value back, from a copy of"
            f" the secrets or from {paths.BACKUP_CIPHER} on {keepers}; or begin anew with this one, in a new, empty"
            " backup_directory or another place in backup_repositories"
        )


def _used(place: Place, lines: list[str]) -> bool:
    if not place.elsewhere:
        return USED in lines
    known: dict[str, dict[str, str]] = {}
    for line in lines:
        if found := _PLACED.fullmatch(line):
            known.setdefault(found[1], {})[found[2]] = found[3]
    there = {"path": place.path}
    if place.kind == "s3":
        there |= {"s3-bucket": place.settings.bucket or "", "s3-endpoint": place.settings.endpoint or ""}
    else:
        there |= {"sftp-host": place.settings.host or ""}
    return not known or there in known.values()
