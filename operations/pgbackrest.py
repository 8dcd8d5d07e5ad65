"""pgBackRest: its server on the hosts that carry it, what the backups lie in, the first one, and the timers of those after it."""

from __future__ import annotations

import shlex
from collections.abc import Generator

from pyinfra import host, state
from pyinfra.api import FactBase, StringCommand, operation

from cluster import paths
from cluster.components import BACKUP_TIMERS, BACKUP_TYPES
from cluster.repositories import Place, authorities

from . import drills
from .context import Run
from .managed import Managed, data_directory, directory, render, secret
from .refusal import stop
from .repositories import of_another_cluster, repositories
from .services import Unit, UnitFact, first_start, or_journal

USER = paths.BACKUP_USER  # to whom the backups belong: nobody's but pgBackRest's
UNIT = "pgbackrest.service"
UNIT_FILE = f"/etc/systemd/system/{UNIT}"
TLS_FILES = tuple(f"{paths.BACKUP_TLS}/{name}" for name in ("server.key", "server.crt", "ca.crt"))
BACKUP_UNIT = "pgquorum-backup@{}.service"
STORE_FILES = f"/etc/pgbackrest/ca-*.crt /etc/pgbackrest/sftp-*.key {paths.archive_config('*')} {paths.ARCHIVE_EACH}"
BACKUP_FILE = "/etc/systemd/system/pgquorum-backup@.service"
# A new archive_command is in force when Patroni has come round to it; then a file has to get to the archive.
CHECKS, CHECK_SECONDS = 15, 20
# pgBackRest's code where another of its processes has the lock, and for how many seconds that is waited for.
LOCKED, LOCKED_SECONDS = 50, 60
# Before an empty repository becomes this cluster's: it could not become the other one's any more.
ANOTHER = (
    "{others} in backup_repositories has the backups of another cluster than the one that runs here. Where all database hosts"
    " were lost and that one is to come back, leave {others} alone in backup_repositories for now: docs/runbook.md, All database"
    " hosts are lost"
)
# Of archive_command where PostgreSQL does not run: for how many seconds after a try that found no repository nobody tries again,
# for how many after that a try is short, and how long that then may take; for how long a repository may say nothing in the first.
NOT_TRIED_SECONDS, SHORT_TRY_SECONDS, SHORT_SECONDS, SILENT_SECONDS = 10, 600, 2, 10
PUSH_TIMES = {"fresh": NOT_TRIED_SECONDS, "recent": SHORT_TRY_SECONDS, "soon": SHORT_SECONDS, "silent": SILENT_SECONDS}


def files(run: Run) -> list[Managed]:
    """Everything pgBackRest reads on this host, and where the backups lie, if here."""
    return [
        directory("/etc/pgbackrest"),
        directory("/etc/pgbackrest/conf.d"),
        directory(paths.BACKUP_TLS, _user(run), "750"),
        *_tls(run),
        Managed(paths.BACKUP_CONFIG, render("pgbackrest/pgbackrest.conf.j2", cluster=run.cluster, host=run.host)),
        Managed(UNIT_FILE, render("pgbackrest/pgbackrest.service.j2", cluster=run.cluster, host=run.host, user=_user(run))),
        *(_repository(run) if run.host in run.cluster.backup_hosts else _archiving(run)),
        *drills.files(run),
    ]


def about_repositories(run: Run) -> list[Managed]:
    """What the host that keeps backups has of where they lie, and of how it gets there."""
    config = Managed(paths.BACKUP_CONFIG, render("pgbackrest/pgbackrest.conf.j2", cluster=run.cluster, host=run.host))
    secrets = render("pgbackrest/cipher.conf.j2", cluster=run.cluster, vault=run.vault)
    places = (one for place in run.cluster.repositories for one in _elsewhere(run, place))
    return [config, secret(paths.BACKUP_CIPHER, secrets, paths.BACKUP_USER), *places]


def _user(run: Run) -> str:
    return run.cluster.backup_user(run.host)


def _tls(run: Run) -> list[Managed]:
    pair = run.vault.certificate(run.host.name, "pgbackrest")
    return [
        secret(f"{paths.BACKUP_TLS}/server.key", pair.key, _user(run)),
        Managed(f"{paths.BACKUP_TLS}/server.crt", pair.certificate.decode()),
        Managed(f"{paths.BACKUP_TLS}/ca.crt", run.vault.authorities["backup"].certificate.decode()),
    ]


def _archiving(run: Run) -> list[Managed]:
    """What archives on a database host, and what gets a file to each of several repositories by itself."""
    cluster = run.cluster
    push = render("pgbackrest/archive-push.sh.j2", cluster=cluster, **PUSH_TIMES)
    always = [directory("/usr/local/lib/pgquorum"), Managed(paths.ARCHIVE_PUSH, push, mode="755", check="sh -n {}")]
    if len(cluster.repositories) == 1:
        return always
    each = render("pgbackrest/archive-each.sh.j2", cluster=cluster)
    return [
        *always,
        data_directory(paths.BACKUP_SPOOL, "postgres"),
        *(
            Managed(paths.archive_config(place.name), render("pgbackrest/archive.conf.j2", cluster=cluster, place=place))
            for place in cluster.repositories
        ),
        Managed(paths.ARCHIVE_EACH, each, mode="755", check="sh -n {}"),
    ]


def _elsewhere(run: Run, place: Place) -> list[Managed]:
    """The files by which a repository on another machine is known, and knows this host."""
    found = [Managed(place.ca_file, authorities(place))] if place.settings.ca_file else []
    if place.kind == "sftp":
        found.append(secret(place.private_key, run.vault.repository_keys(place)["private_key"], paths.BACKUP_USER))
    return found


def _repository(run: Run) -> list[Managed]:
    backup, places = run.cluster.backup, run.cluster.repositories
    _, *about = about_repositories(run)
    schedules = {"full": backup.full_schedule, "incr": backup.incr_schedule}
    return [
        *about,
        *([] if all(place.elsewhere for place in places) else [data_directory(backup.directory, paths.BACKUP_USER)]),
        Managed(BACKUP_FILE, render("pgbackrest/pgquorum-backup@.service.j2", cluster=run.cluster)),
        *(
            Managed(
                f"/etc/systemd/system/{timer}",
                render("pgbackrest/backup.timer.j2", cluster=run.cluster, kind=kind, schedule=schedules[kind]),
                check=f"systemd-analyze calendar {shlex.quote(schedules[kind])} >/dev/null",
            )
            for kind, timer in BACKUP_TIMERS.items()
        ),
    ]


class StoreFiles(FactBase[list[str]]):
    """The files about several repositories, and about places elsewhere, that any deploy has written."""

    def command(self) -> str:
        return f"ls -d {STORE_FILES} 2>/dev/null || true"

    def process(self, output: list[str]) -> list[str]:
        return output


def not_needed(run: Run) -> tuple[str, ...]:
    """What an earlier deploy has left of places where no backups are to lie any more."""
    wanted = about_repositories(run) if run.host in run.cluster.backup_hosts else _archiving(run)
    there = host.get_fact(StoreFiles) or []
    return tuple(sorted(set(there) - {item.path for item in wanted}))


@operation()
def archive_histories_anew(run: Run) -> Generator[StringCommand]:
    """On a database host, where a repository has no place for this cluster yet: one that is new, under a name that had another
    one, has none of the histories of timelines that were archived before. What was archived before this file was written counts
    as not archived there (agents/unarchived.py, mark_histories). Before the place is made: a deploy that ends between the two
    does it again."""
    keeper = run.first(run.cluster.backup_hosts)
    if keeper and not all(one.stanza for one in repositories(run, state.inventory.get_host(keeper.name))):
        yield StringCommand(f"touch {paths.BACKUP_CONFIG}")


@operation()
def start(run: Run) -> Generator[StringCommand]:
    """Starts the server where it does not run, and lets it read files that are newer than what it runs with."""
    read = (paths.BACKUP_CONFIG, paths.BACKUP_CIPHER, *TLS_FILES)
    unit = host.get_fact(UnitFact, unit=UNIT, files=read) or Unit()
    if unit.stale:
        yield StringCommand("systemctl daemon-reload")
    if not (unit.active and unit.enabled):
        yield or_journal(first_start(UNIT), UNIT)
    elif f"--tls-server-port={run.cluster.backup.port} " not in unit.command_line:
        yield or_journal(f"systemctl restart {UNIT}", UNIT)  # a reload would go on listening where it does
    elif unit.reload_due:
        yield or_journal(f"systemctl reload {UNIT}", UNIT)


class Written(FactBase[bool]):
    """Whether the host has a configuration of pgBackRest that the deploy has written."""

    def command(self) -> str:
        return f"grep -ls '^# Written by the deploy' {paths.BACKUP_CONFIG} || true"

    def process(self, output: list[str]) -> bool:
        return bool(output)


@operation()
def leave() -> Generator[StringCommand]:
    """Ends the server on a host of a cluster that has no host for backups any more."""
    if host.get_fact(Written):
        yield StringCommand(f"systemctl disable --now --quiet {UNIT}")
        gone = (paths.BACKUP_CONFIG, UNIT_FILE, paths.ARCHIVE_PUSH, STORE_FILES, *TLS_FILES, *drills.unit_and_all())
        yield StringCommand(f"rm -f {' '.join(gone)}")
        yield StringCommand("systemctl daemon-reload")


@operation()
def make_stanza(run: Run) -> Generator[StringCommand]:
    """Makes the place for this cluster's backups, before anything is archived there. PostgreSQL has to run."""
    found = repositories(run)
    if not all(one.stanza for one in found):  # pgBackRest makes it wherever it is not
        if others := of_another_cluster(run, found):
            yield from stop(ANOTHER.format(others=others))
            return
        yield StringCommand(unlocked(paths.pgbackrest(run.cluster.name, paths.BACKUP_USER, "stanza-create")))


def unlocked(command: str) -> str:
    """That command of pgBackRest's, tried again while another has the lock: a server that was started a moment ago tries to
    archive what it has, and has it while it is refused."""
    failed = f'[ $? = {LOCKED} ] && [ $n -lt {LOCKED_SECONDS} ] || {{ echo "$said" >&2; exit 1; }}'
    script = f"n=0; until said=$({command} 2>&1); do {failed}; n=$((n+1)); sleep 1; done"
    return f"sh -c {shlex.quote(script)}"


@operation()
def archive(run: Run) -> Generator[StringCommand]:
    """Waits until the first file of the write-ahead log is in the archive; stops with the reason where none gets there."""
    if not all(one.archived for one in repositories(run)):
        check = paths.pgbackrest(run.cluster.name, paths.BACKUP_USER, f"check --archive-timeout={CHECK_SECONDS}")
        failed = f'[ $n -lt {CHECKS} ] || {{ echo "$said" >&2; exit 1; }}'
        script = f"n=0; until said=$({check} 2>&1); do n=$((n+1)); {failed}; sleep 2; done"
        yield StringCommand(f"sh -c {shlex.quote(script)}")


@operation()
def keep_backing_up(run: Run) -> Generator[StringCommand]:
    """Starts the timers, and begins the first full backup where there is none: how long that takes is for no deploy to wait."""
    units = {timer: host.get_fact(UnitFact, unit=timer, files=()) or Unit() for timer in BACKUP_TIMERS.values()}
    off = [timer for timer, unit in units.items() if not (unit.active and unit.enabled)]
    stale = [timer for timer, unit in units.items() if unit.stale and timer not in off]
    services = (host.get_fact(UnitFact, unit=BACKUP_UNIT.format(kind), files=()) or Unit() for kind in BACKUP_TYPES)
    if off or stale or any(service.stale for service in services):
        yield StringCommand("systemctl daemon-reload")
    if off:
        yield StringCommand(f"systemctl enable --now --quiet {' '.join(off)}")
    if stale:
        yield StringCommand(f"systemctl restart {' '.join(stale)}")
    backed_up = [one.backed_up for one in repositories(run)]
    if not all(backed_up):
        # An incremental one is a full one where there is none yet.
        yield StringCommand(f"systemctl start --no-block {BACKUP_UNIT.format('incr' if any(backed_up) else 'full')}")
