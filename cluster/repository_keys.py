"""The keys of repositories that lie elsewhere: an owner brings them, in the environment or as a file of the secrets directory.

PGQUORUM_REPOSITORY_<NAME>_KEY, PGQUORUM_REPOSITORY_<NAME>_KEY_SECRET   of an S3 store, or repository-<name>.json:
                                                                      {"key": "...", "key_secret": "..."}
PGQUORUM_REPOSITORY_<NAME>_PRIVATE_KEY                                  of an SFTP server, or repository-<name>.ssh
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path

from .errors import ClusterError
from .repositories import Place

PREFIX = "PGQUORUM_REPOSITORY_"
# What each kind has to have, as pgBackRest calls it.
KEYS = {"directory": (), "s3": ("key", "key_secret"), "sftp": ("private_key",)}
SSH_KEY = "-----BEGIN "


def keys_of(place: Place, directory: Path, environment: Mapping[str, str]) -> dict[str, str]:
    """The keys of a repository, by name. `directory`: that of the cluster's secrets. Raises ClusterError where one is missing, or
    can't be right; none of what it says is a key."""
    variables = {name: f"{PREFIX}{place.name.upper()}_{name.upper()}" for name in KEYS[place.kind]}
    if not variables:
        return {}
    if any(variable in environment for variable in variables.values()):
        lacking = [variable for variable in variables.values() if variable not in environment]
        if lacking:
            raise ClusterError(f"{', '.join(lacking)} is not in the environment, which has the other one: should be both")
        found = {name: environment[variable] for name, variable in variables.items()}
        said = ", ".join(variables.values())
    else:
        found, said = _from_file(place, directory, " and ".join(variables.values()))
    for name, value in found.items():
        if why := _wrong(name, value):
            raise ClusterError(f"{said}: {name} {why}")
    return found


def _from_file(place: Place, directory: Path, variables: str) -> tuple[dict[str, str], str]:
    path = directory / f"repository-{place.name}.{'json' if place.kind == 's3' else 'ssh'}"
    right = (
        '{"key": "...", "key_secret": "..."}'
        if place.kind == "s3"
        else f"(umask 077; mkdir -p {directory}; ssh-keygen -q -t ed25519 -N '' -f {path}) makes one"
    )
    try:
        text = path.read_text(encoding="utf-8")
        found = json.loads(text) if place.kind == "s3" else {"private_key": text}
        if set(found) != set(KEYS[place.kind]) or not all(isinstance(value, str) for value in found.values()):
            raise ValueError
    except FileNotFoundError:
        raise ClusterError(
            f"the key of repository {place.name} is missing: should be {variables} in the environment, or {path}: {right}"
        ) from None
    except OSError as error:
        raise ClusterError(f"{path} can't be read: {error.strerror}") from None
    except (ValueError, TypeError):
        raise ClusterError(f"{path}: should be {right}") from None
    return found, str(path)


def _wrong(name: str, value: str) -> str | None:
    if name == "private_key":
        right = value.startswith(SSH_KEY) and "PRIVATE KEY" in value
        return None if right else "should be a private key of SSH without a passphrase"
    return None if re.fullmatch(r"[!-~]{1,256}", value) else "should be printable ASCII characters, without spaces"
