"""Which hosts need a reboot, and why. Pure. What a host says comes from agents/sent/kernel.py."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

# So many libraries are named.
SHOWN = 3


@dataclass(frozen=True)
class Kernel:
    """The kernel of a host: `running` and `built` as uname tells release and version; `installed`, by release the version of its
    package; `libraries`, by unit those that were replaced since it was started; `required`, whether a package has asked for a
    reboot."""

    running: str
    built: str
    installed: dict[str, str]
    libraries: dict[str, list[str]]
    required: bool


def read(output: str) -> Kernel:
    """A host's answer. Raises ValueError for what is none."""
    try:
        said = json.loads(output)
        return Kernel(
            running=str(said["running"]),
            built=str(said["built"]),
            installed=dict(said["installed"]),
            libraries=dict(said["libraries"]),
            required=said["required"] is True,
        )
    except (KeyError, TypeError) as error:
        raise ValueError(f"an answer that is not understood ({type(error).__name__}: {error})") from None


def why(kernel: Kernel) -> str:
    """Why the host needs a reboot, or nothing. Of kernels those are compared that are of the same kind, such as `amd64`; where
    none is installed, as in a container, that says nothing."""
    kind = kernel.running.rpartition("-")[2]
    newest = max((one for one in kernel.installed if one.rpartition("-")[2] == kind), key=_order, default=kernel.running)
    if _order(newest) > _order(kernel.running):
        return f"kernel {newest} is installed, and {kernel.running} runs"
    own = kernel.installed.get(kernel.running)
    if own and "Debian" in kernel.built and f" {own} " not in f"{kernel.built} ":
        return f"kernel {kernel.running} is installed in version {own}, and another one runs"
    if kernel.libraries:
        return with_old_libraries(kernel.libraries)
    return "a package has asked for it (/run/reboot-required)" if kernel.required else ""


def with_old_libraries(by_unit: Mapping[str, Collection[str]]) -> str:
    """A sentence for units that run with libraries which were replaced."""
    names = sorted({name for names in by_unit.values() for name in names})
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"{', '.join(sorted(by_unit))} run with libraries of before an upgrade ({', '.join(names[:SHOWN])}{more})"


def _order(release: str) -> list[int]:
    """A release's numbers, by which the newer one is the higher: what follows them is the kind."""
    return [int(number) for number in re.findall(r"\d+", release.rpartition("-")[0] or release)]
