"""How the hosts' apt is called, by deploys and by day-2 commands."""

from __future__ import annotations

import shlex
from collections.abc import Iterable

# Seconds to wait for another apt or dpkg: a host's own upgrades, or an installation that was cut off and is still at work.
PATIENCE = 120


def apt_get() -> str:
    """apt-get that asks nothing, and waits for another that is at work."""
    options = ("DPkg::Use-Pty=0", f"DPkg::Lock::Timeout={PATIENCE}", "Dpkg::Options::=--force-confold")
    return " ".join(("apt-get -q -y --no-install-recommends", *(f"-o {option}" for option in options)))


def apt_update(*options: str) -> str:
    """A shell script that fetches the package lists, and fails with what apt said in `$said`. For these apt itself does not wait
    for another that is at work: a host's first boot may be fetching them, too."""
    update = " ".join(("apt-get -q -y update", *(f"-o {option}" for option in options)))
    return (
        f"ok=1; end=$(($(date +%s) + {PATIENCE})); until said=$({update} 2>&1); do "
        "case $said in *lists/lock*) [ $(date +%s) -lt $end ] && sleep 5 && continue;; esac; ok=; break; done; [ $ok ]"
    )


def apt_mark(verb: str, names: Iterable[str], seconds: int = PATIENCE) -> str:
    """A shell script that marks packages as `hold` or `unhold`. apt-mark itself does not wait for another that is at work."""
    return (
        f"end=$(($(date +%s) + {seconds})); until said=$(LC_ALL=C apt-mark {verb} {shlex.join(names)} 2>&1); do "
        'case $said in *lock*locked*) [ $(date +%s) -lt $end ] && sleep 2 && continue;; esac; echo "$said" >&2; exit 1; done'
    )
