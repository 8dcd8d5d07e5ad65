"""Whether the hosts are fit for this cluster, judged from what a survey of them saw (survey.py). Pure: the deploy obeys."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from statistics import median
from types import MappingProxyType

from . import authorities, entry, package_files, paths, repositories, sources
from .layout import FIXED, Note, changes, latest, layout_of, read_note
from .releases import supported
from .sudo import denial
from .survey import DISK_FREE_BYTES, HostSurvey
from .topology import Cluster
from .version import Version, parse, told

SUPPORTED_SYSTEMS = {"debian", "ubuntu"}
CLOCK_SKEW_SECONDS = 2.0
# Half of certificates.BACKDATE: certificates are made by the operator's clock and judged by the hosts'.
OPERATOR_SKEW_SECONDS = 1800.0


def refusals(
    cluster: Cluster,
    surveys: Mapping[str, HostSurvey],
    cluster_id: str,
    secrets_existed: bool,
    checkout: Version,
    trusted: Mapping[str, bytes] = MappingProxyType({}),
) -> list[str]:
    """Why a deploy must not go on, one sentence each; empty when it may. `surveys` are the hosts of this run by name, `trusted`
    the certificates of the authorities as the secrets have them."""
    found: list[str] = []
    for name, survey in sorted(surveys.items()):
        problems = [
            *_unfit(survey),
            *_cramped(cluster, name, survey),
            *_foreign(cluster, name, survey),
            *_misplaced(cluster, name, survey),
            *_without_ipv6(cluster, name, survey),
            *_taken(cluster, name, survey),
            *_untimely(cluster, name, survey),
            *sources.problems(cluster, cluster.host(name), survey),
        ]
        found += [f"host {name}: {problem}" for problem in problems]
    found += [*sources.key_problems(cluster), *package_files.unlike(cluster), *repositories.file_problems(cluster.repositories)]
    found += _identity(cluster, surveys, cluster_id, secrets_existed)
    found += _authorities(cluster, surveys, cluster_id, trusted)
    found += _versions(cluster, surveys, checkout)
    found += _changes(cluster, surveys)
    found += _quota(cluster, surveys)
    found += _slots(cluster, surveys)
    found += _clocks(surveys)
    found += entry.problems(cluster, surveys)
    return found


def notes(cluster: Cluster, surveys: Mapping[str, HostSurvey]) -> dict[str, str | None]:
    """The version that each host of this cluster notes as the one that deployed it, by name; None where it notes none."""
    ours = {name: survey.belongs_to for name, survey in sorted(surveys.items())}
    return {name: marker.get("version") for name, marker in ours.items() if marker.get("cluster") == cluster.name}


def _unfit(survey: HostSurvey) -> Iterator[str]:
    if survey.uid < 0 and not survey.system:
        yield f"runs no command of {survey.user}, whose login shell there should be one (`chsh -s /bin/bash`)"
        return
    if survey.system not in SUPPORTED_SYSTEMS:
        yield f"runs {survey.system or 'an unknown system'} {survey.system_version}: should be Debian or Ubuntu"
    elif survey.release is None:
        version = (
            " ".join(filter(None, (survey.system_version, survey.codename and f"({survey.codename})"))) or "of no known release"
        )
        yield f"runs {survey.system} {version}: should be one of {supported()}"
    if survey.uid != 0:
        said = survey.sudo or "without a word"
        yield denial(survey.user, survey.sudo) or f"{survey.user} is not root, and sudo fails ({said}): set ssh_user = 'root'"
        return  # the rest could not be seen
    if survey.restoring:
        yield "a restore of the cluster is under way or was interrupted: `invoke status` says how it goes on"
    if survey.init != "systemd":
        yield f"is run by {survey.init!r}: should be systemd"


def _cramped(cluster: Cluster, name: str, survey: HostSurvey) -> Iterator[str]:
    """A disk without room for data that is still to come there. Once it is there the rules tell (disks.full), and what mends a
    full disk may be a deploy."""
    host = cluster.host(name)
    to_come = (host in cluster.postgres_hosts and survey.postgres_data != "cluster") or (
        host in cluster.etcd_hosts and not survey.etcd_data and not survey.belongs_to
    )
    if survey.uid == 0 and to_come and survey.free_bytes < DISK_FREE_BYTES:
        yield f"has {survey.free_bytes // 1024**2} MiB free for data: should be at least {DISK_FREE_BYTES // 1024**2} MiB"


def _without_ipv6(cluster: Cluster, name: str, survey: HostSurvey) -> Iterator[str]:
    """HAProxy would not start where it can't listen."""
    if survey.uid == 0 and not survey.ipv6 and 6 in cluster.address_versions and cluster.host(name) in cluster.haproxy_hosts:
        six = [str(network) for network in cluster.all.client_networks if network.version == 6]
        yield f"its kernel has no IPv6, and client_networks has {', '.join(six)}: take that out, or turn IPv6 on there"


def _taken(cluster: Cluster, name: str, survey: HostSurvey) -> Iterator[str]:
    """A port that a deploy may give a component of a host that lives, and that somebody else has there. New hosts are probed."""
    for component in cluster.components(cluster.host(name)) if survey.belongs_to else ():
        own = {unit.partition("@")[0] for unit in component.units}
        for setting in sorted(set(component.ports) - FIXED.keys()):
            number = cluster.setting(setting)
            # Of whom systemd knows no unit, nobody can tell whether it is the component itself.
            others = {(unit, program) for port, unit, program in survey.listeners if port == number and unit}
            for unit, program in sorted(other for other in others if other[0].partition("@")[0] not in own):
                who = f"{program or 'something'} ({unit})"
                yield f"{setting} = {number}: {who} listens there already: end it, or choose another port"


def _untimely(cluster: Cluster, name: str, survey: HostSurvey) -> Iterator[str]:
    """A timer that systemd would not take."""
    if cluster.host(name) in cluster.backup_hosts:
        for setting in survey.no_times:
            value = cluster.setting(setting)
            yield f"{setting} = {value!r}: its systemd takes no such time: should be one such as 'Sun 01:00' (man systemd.time)"


def _misplaced(cluster: Cluster, name: str, survey: HostSurvey) -> Iterator[str]:
    """Data that a link would lead to where none can be."""
    needed = cluster.directories(cluster.host(name))
    for setting, path in survey.places:
        why = paths.why_no_data(path)
        if setting in needed and why:
            yield f"{setting} = {cluster.setting(setting)!r} leads to {path}, which {why}: should lie elsewhere"


def _foreign(cluster: Cluster, name: str, survey: HostSurvey) -> Iterator[str]:
    """What is on the host and not ours."""
    if survey.marker and not survey.belongs_to:
        yield (
            f"{paths.MARKER} is {survey.marker[:40]!r}: should be a JSON object as on the other hosts of the cluster,"
            f' with "host": "{name}"'
        )
        return
    owner = survey.belongs_to.get("cluster")
    if owner is not None and owner != cluster.name:
        yield f"belongs to cluster {owner!r}, not to {cluster.name!r}: take it out of the inventory, or set cluster_name"
        return
    known_as = survey.belongs_to.get("host", name)
    if known_as != name:
        yield f"is {known_as!r} of this cluster, and can't be called {name!r} now: mend its name or its address in the inventory"
    if survey.postgres_data == "foreign" or (survey.postgres_data == "cluster" and owner is None):
        yield (
            f"{cluster.postgres.data_directory} holds something that this tool did not put there:"
            " choose another postgres_data_directory, or move it away"
        )
    if survey.postgres_wal and owner is None and any(h.name == name for h in cluster.postgres_hosts):
        yield f"{cluster.postgres.wal_directory}/pg_wal holds write-ahead log that is none of this cluster's: move it away"
    if any(h.name == name for h in cluster.etcd_hosts):
        if survey.etcd_foreign:
            yield f"{cluster.etcd.data_directory} holds something that is not etcd's: choose another etcd_data_directory"
        elif survey.etcd_data and owner is None:
            yield f"{cluster.etcd.data_directory} holds the data of an etcd member that is none of this cluster's: move it away"
    if survey.patroni_scope and survey.patroni_scope != cluster.name:
        yield f"runs Patroni for another cluster, {survey.patroni_scope!r}"
    if survey.postgres_service and owner is None and any(h.name == name for h in cluster.postgres_hosts):
        yield "already runs a PostgreSQL of its own (postgresql.service): stop it, or choose another host"


def _identity(cluster: Cluster, surveys: Mapping[str, HostSurvey], cluster_id: str, secrets_existed: bool) -> Iterator[str]:
    """A cluster that lives must only be deployed to by somebody who has its secrets."""
    ours = {n: s.belongs_to for n, s in sorted(surveys.items()) if s.belongs_to.get("cluster") == cluster.name}
    strangers = {n: marker for n, marker in ours.items() if marker.get("id") != cluster_id}
    if not strangers:
        return
    origin = next(iter(strangers.values())).get("deployed_from", "unknown")
    directory = f"{cluster.all.secrets_directory}/{cluster.name}"
    what = "are not those of" if secrets_existed else "are missing here for"
    yield (
        f"the secrets in {directory} {what} the cluster {cluster.name!r} that lives on {', '.join(strangers)}."
        f" It was first deployed from {origin}: copy {directory} from there, or from a backup, and run again."
        " Without it the passwords of the roles and the certificate authorities are gone: then make a new cluster beside"
        " it and move the data with pg_dump. Nothing new was made"
    )


def _authorities(
    cluster: Cluster, surveys: Mapping[str, HostSurvey], cluster_id: str, trusted: Mapping[str, bytes]
) -> Iterator[str]:
    """What would keep hosts apart while they are deployed to one after the other."""
    ours = {name: survey for name, survey in surveys.items() if survey.belongs_to.get("id") == cluster_id}
    yield from authorities.problems(f"{cluster.all.secrets_directory}/{cluster.name}", trusted, ours)


def _versions(cluster: Cluster, surveys: Mapping[str, HostSurvey], checkout: Version) -> Iterator[str]:
    """An older checkout would take back what a newer one has done, and knows nothing of it."""
    newer: dict[str, str | None] = {}
    highest = allowed = max(checkout, cluster.all.downgrade_from or checkout)
    for name, note in notes(cluster, surveys).items():
        try:
            version = parse(note) if note is not None else checkout
        except ValueError as error:
            yield f"host {name}: version = {note!r} in {paths.MARKER} {error}: write there the one that deployed it last"
            continue
        if version > allowed:
            newer[name] = note
            highest = max(highest, version)
    if newer:
        yield (
            f"hosts were deployed by {told(newer)}, and this checkout is older, {checkout}: use one of at least {highest},"
            f" or insist with --data downgrade_from={highest}"
        )


def noted_layout(cluster: Cluster, surveys: Mapping[str, HostSurvey]) -> Note | None:
    """The latest note of the cluster's layout that a host has; None where none has one, as in a cluster of version 0.1.0."""
    ours = (survey.layout for survey in surveys.values() if survey.belongs_to.get("cluster") == cluster.name)
    return latest(note for text in ours if (note := read_note(text)))


def _changes(cluster: Cluster, surveys: Mapping[str, HostSurvey]) -> Iterator[str]:
    """What a living cluster can't take by a deploy."""
    note = noted_layout(cluster, surveys)
    if note is not None:
        yield from changes(note.layout, layout_of(cluster))


def _quota(cluster: Cluster, surveys: Mapping[str, HostSurvey]) -> Iterator[str]:
    """A member that is started with a smaller quota than its database refuses writes, and then nobody leads."""
    size, name = max(((survey.etcd_bytes, name) for name, survey in surveys.items() if survey.etcd_data), default=(0, ""))
    if size > cluster.etcd.quota:
        room = min(size * 2 // 1024**2 + 1, 8192)
        yield f"etcd_quota = {cluster.etcd.quota}: etcd's database on {name} has {size} bytes: should be more, such as '{room}MB'"


def _slots(cluster: Cluster, surveys: Mapping[str, HostSurvey]) -> Iterator[str]:
    """With a logical slot and another wal_level PostgreSQL refuses to start."""
    holders = {name: survey.logical_slots for name, survey in sorted(surveys.items()) if survey.logical_slots}
    if holders and not cluster.decodes:
        slots = sorted({slot for names in holders.values() for slot in names})
        drop = "; ".join(f"select pg_drop_replication_slot('{slot}')" for slot in slots)
        yield (
            f"postgres_slots is empty, but there are logical slots on {', '.join(holders)}, and PostgreSQL won't start with them:"
            f" put {', '.join(slots)} back, or drop them on the primary first ({drop}): replicas follow within half a minute"
        )


def _clocks(surveys: Mapping[str, HostSurvey]) -> Iterator[str]:
    offsets = {name: survey.clock_offset for name, survey in surveys.items()}
    if not offsets:
        return
    common = median(offsets.values())
    if abs(common) > OPERATOR_SKEW_SECONDS:
        yield (
            f"the clock of this machine is {abs(common) / 60:.0f} minutes {'behind' if common > 0 else 'ahead of'} the hosts':"
            " certificates are made by it, so set it right"
        )
    first, last = min(offsets, key=lambda n: offsets[n]), max(offsets, key=lambda n: offsets[n])
    if offsets[last] - offsets[first] > CLOCK_SKEW_SECONDS:
        yield (
            f"the clocks of {first} and {last} are {offsets[last] - offsets[first]:.1f} s apart: should be less than"
            f" {CLOCK_SKEW_SECONDS:.0f} s (install chrony)"
        )
