"""One operator at a time: a lock on every database host, held by an open SSH channel.

Whoever changes the cluster runs `holder_command` on the hosts and keeps the channel open. The kernel releases the lock when
the process ends, and that ends when its input does: on a normal exit, a crash, Ctrl-C or a cut connection alike. So there is
no stale lock to clear, and it works on blank hosts and when etcd is down. A holder that hears nothing for a minute (the
operator's machine is gone without a word) gives up by itself.
"""

from __future__ import annotations

import datetime as dt
import getpass
import json
import shlex
import socket
from pathlib import Path

from . import paths

HEARTBEAT_SECONDS = 15
SILENCE_SECONDS = 60
HELD = "held"


def owner(doing: str) -> str:
    """Who is asking, as one line of JSON: user, machine, directory, what for, since when."""
    who = f"{getpass.getuser()}@{socket.gethostname()}"
    since = dt.datetime.now(dt.UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    return json.dumps({"who": who, "directory": str(Path.cwd()), "doing": doing, "since": since})


def holder_command(owner_line: str) -> str:
    """The command to run as root on a host. It prints `held`, or the owner line of whoever holds the lock, as first line.

    Feed it a line every HEARTBEAT_SECONDS and close its input to release.
    """
    script = (
        f'umask 077; exec 9>>"{paths.LOCK}"; if ! flock --nonblock 9; then cat "{paths.LOCK}"; exit 75; fi; '
        f'printf "%s\\n" "$1" > "{paths.LOCK}"; echo {HELD}; '
        f'while read -r -t {SILENCE_SECONDS} _; do :; done; : > "{paths.LOCK}"'
    )
    return f"bash -c {shlex.quote(script)} lock {shlex.quote(owner_line)}"


def refusal(hosts: str, answer: str) -> str:
    """What to tell the second operator, from the first line the holder command printed on `hosts`: one, or several by commas."""
    try:
        held_by = json.loads(answer)
        return (
            f"{held_by['who']} is changing this cluster ({held_by['doing']}, since {held_by['since']},"
            f" from {held_by['directory']}): wait until that has ended. Seen on {hosts}"
        )
    except (ValueError, KeyError, TypeError):
        why = f": {answer}" if answer else ""
        return (
            f"the lock {paths.LOCK} on {hosts} could not be taken: somebody has just taken it, or it can't be written there{why}"
        )
