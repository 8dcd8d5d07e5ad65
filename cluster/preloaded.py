"""The libraries that are loaded once a server runs: by each session as it begins, and by whoever archives. Where one is missing
no session begins, Patroni's neither, as soon as the parameter is read; or the write-ahead log is kept until the disk is full.
PostgreSQL's program, which is asked whether a server would start, loads none of them. Pure.
"""

from __future__ import annotations

import re
import shlex
from pathlib import PurePosixPath

from . import paths
from .topology import Cluster

# By parameter, where PostgreSQL looks for a name without a directory.
PLACES = {"session_preload_libraries": "$libdir", "local_preload_libraries": "$libdir/plugins", "archive_library": "$libdir"}
WITHOUT = {"archive_library": "nothing would be archived"}  # what comes of it, where it is not that no session begins


def files(cluster: Cluster) -> dict[str, tuple[str, ...]]:
    """The files that a PostgreSQL host has to have, by parameter. None of names that are looked for where the owner says."""
    parameters = cluster.postgres.parameters
    libraries = str(PurePosixPath(paths.postgres_binaries(cluster.postgres.version)).parent / "lib")
    found: dict[str, tuple[str, ...]] = {}
    for parameter, place in PLACES.items() if "dynamic_library_path" not in parameters else ():
        names = [name.strip().strip('"') for name in str(parameters.get(parameter, "")).split(",")]
        whole = [name if "/" in name else f"{place}/{name}" for name in names if name]
        found[parameter] = tuple(re.sub(r"(\.so)?$", ".so", one.replace("$libdir", libraries), count=1) for one in whole)
    return found


def command(cluster: Cluster) -> str:
    """The command that prints those of the files that a host does not have."""
    wanted = " ".join(shlex.quote(file) for of in files(cluster).values() for file in of)
    return f'for f in {wanted}; do [ -e "$f" ] || echo "$f"; done' if wanted else ""


def problems(cluster: Cluster, missing: list[str]) -> list[str]:
    """What speaks against the parameters on a host that lacks files."""
    return [
        f"postgres_parameters[{parameter}] = {cluster.postgres.parameters[parameter]!r}: there is no {file}, and"
        f" {WITHOUT.get(parameter, 'no session would begin')}: install the package that has it on every PostgreSQL host"
        for parameter, of in files(cluster).items()
        for file in of
        if file in missing
    ]
