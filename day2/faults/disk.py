"""The disk of the write-ahead log runs full."""

from __future__ import annotations

from cluster import paths
from day2.predictions import failover
from day2.predictions.prediction import Prediction

from .base import BaseFault, no_successor
from .script import HostScript, heal, inject

MOST_FREE = 20 * 1024**3
FILL = "pgquorum-fault.fill"
# The WAL segments PostgreSQL has in reserve: as many as max_wal_size has room for.
SEGMENTS = 500

# Smaller and smaller pieces, the room that is kept for root too, until not a block is left.
# Then PostgreSQL needs new segments: a slot that goes with its session keeps it from using old ones again, and each switch
# uses up one it has in reserve. Not so quickly that no replica keeps up: one that lags may not take over.
MOUNT = """d=$wal; until [ -e "$d" ]; do d=${d%/*}; done
mount=$(df --output=target "$d" | tail -n 1)
"""
FILL_UP = f"""{MOUNT}
file=$mount/{FILL} chunk=$((1 << 30)) at=0
set -C; exec 9>"$file" || exit 1; set +C  # a new file: no link that lay there is followed
opened=/proc/self/fd/9
while [ "$chunk" -ge 4096 ]; do
    if fallocate --offset "$at" --length "$chunk" $opened 2>/dev/null; then at=$((at + chunk)); else chunk=$((chunk / 2)); fi
done
exec 9>&-
if [ "$at" = 0 ]; then echo "nothing could be allocated in $file" >&2; exit 1; fi
if {{
    echo "SELECT pg_create_physical_replication_slot('pgquorum_fault', true, true);"
    yes "SELECT pg_logical_emit_message(false, 'pgquorum', 'full'), pg_switch_wal(), pg_sleep(0.1);" | head -n {SEGMENTS}
}} | runuser -u postgres -- "$psql" -XAtq -v ON_ERROR_STOP=1 -h "$sockets" -p "$port" postgres >/dev/null 2>&1
then echo "PostgreSQL still writes: it had more than {SEGMENTS} segments in reserve" >&2; exit 1; fi
"""
# By then PostgreSQL's directory may be gone: Patroni removes it before it copies anew.
EMPTY = f"""{MOUNT}rm -f "$mount/{FILL}"
if [ -e "$mount/{FILL}" ]; then echo "$mount/{FILL} can't be removed" >&2; exit 1; fi
"""


class WalDiskFull(BaseFault):
    name = "wal-disk-full"
    summary = "the disk of the primary's write-ahead log runs full"

    @property
    def _directory(self) -> str:
        postgres = self.context.cluster.postgres
        return postgres.wal_directory or postgres.data_directory

    def describe(self) -> str:
        return f"fills the disk of {self._directory} on {self.target_names}, and later empties it"

    def blockers(self) -> list[str]:
        elsewhere = ["/", "/var/log", *([self.context.cluster.etcd.data_directory] if self._with_etcd else [])]
        asked = " ".join([self._directory, *elsewhere])
        answer = self.context.fleet.run(self.host.name, f"df --block-size=1 --output=target,avail {asked}")
        if not answer.ok:
            return [f"{self.host.name}: {answer.problem}"]
        rows = [line.rsplit(maxsplit=1) for line in answer.output.splitlines()[1:]]
        (mount, free), *others = [(target.strip(), int(available)) for target, available in rows]
        return [*disk_problems(self._directory, mount, free, {target for target, _ in others}), *no_successor(self.context)]

    @property
    def _with_etcd(self) -> bool:
        return self.host in self.context.cluster.etcd_hosts

    @property
    def host_script(self) -> HostScript:
        postgres = self.context.cluster.postgres
        values = {
            "wal": self._directory,
            "psql": f"{paths.postgres_binaries(postgres.version)}/psql",
            "sockets": paths.POSTGRES_SOCKETS,
            "port": str(postgres.port),
        }
        return HostScript(FILL_UP, EMPTY, values)

    def inject(self) -> None:
        inject(self.context.fleet, self.hosts, self.host_script)

    def heal(self) -> None:
        heal(self.context.fleet, self.hosts, self.host_script)

    def prediction(self) -> Prediction:
        return failover.disk_full(self.context.timing, self.durability)


def disk_problems(directory: str, mount: str, free: int, others: set[str]) -> list[str]:
    """Why the disk that `directory` is on, mounted at `mount`, should not be filled; `others` are mounts of other data."""
    if mount in others:
        return [
            f"{directory} is on the file system {mount}, which others need too: put postgres_wal_directory on a small disk of"
            " its own"
        ]
    if free > MOST_FREE:
        return [
            f"{mount} has {free / 1024**3:.0f} GB free, and filling more than {MOST_FREE // 1024**3} is no test any more:"
            " use a smaller disk for postgres_wal_directory"
        ]
    return []
