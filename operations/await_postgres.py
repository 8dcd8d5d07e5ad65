"""How a deploy waits for a PostgreSQL that Patroni was told to start, with the copy of the data that it may need before."""

from __future__ import annotations

import shlex

START_SECONDS = 240
# A replica's data: until its first file is there, for which a backup may be looked for in vain before; and until it is copied,
# and the log has been replayed that was written meanwhile.
COPY_BEGINS_SECONDS, COPY_SECONDS = 300, 4 * 3600
COPY_TOLD_SECONDS = 30  # a copy that takes longer is told of
TRIES = 3  # of systemd to start Patroni, and of Patroni to make a copy: more won't help

SCRIPT = """\
now() {{ cut -d. -f1 /proc/uptime; }}  # a clock that nobody sets
fail() {{ echo "$1" >&2; exit 1; }}
restarts() {{ systemctl show -P NRestarts {unit}; }}
begun=$(now) first=$(restarts) moved=$begun data= copied= broken=0
until {ready}; do
    limit={start}
    if {copying}; then
        limit={copy_begins}
        [ $(($(now) - begun)) -lt {tell} ] || break
    fi
    if [ -n "$(ls -A {directory} 2>/dev/null)" ]; then
        if [ "$limit" = {copy_begins} ]; then copied=yes; fi
        data=yes
    elif [ "$data$copied" = yesyes ]; then  # what was copied is thrown away, and begun anew
        broken=$((broken + 1)) data=
    fi
    if [ "$data$copied" = yesyes ]; then moved=$(now); fi
    [ $(($(restarts) - first)) -lt {tries} ] || fail "{unit} starts and fails again and again"
    [ $broken -lt {tries} ] || fail "its copy of the data fails again and again"
    [ $(($(now) - begun)) -lt {most} ] || fail "its data is still being copied after {hours} h, and goes on to be: deploy again"
    [ $(($(now) - moved)) -lt $limit ] || fail "PostgreSQL is not ready after $limit s"
    sleep 0.25
done
"""


def await_postgres(unit: str, ready: str, copying: str, data: str, told: int | None = None) -> str:
    """A command that ends when `ready` succeeds, and fails where that takes too long. Once there is something in the directory
    `data` while `copying` succeeds, COPY_SECONDS alone bound what is left to do, and how often that fails. After `told` seconds
    of copying the command ends, too."""
    return SCRIPT.format(
        unit=unit, ready=ready, copying=copying, directory=shlex.quote(data), start=START_SECONDS, tries=TRIES,
        copy_begins=COPY_BEGINS_SECONDS, most=COPY_SECONDS, hours=COPY_SECONDS // 3600,
        tell=2 * COPY_SECONDS if told is None else told
    )  # fmt: skip
