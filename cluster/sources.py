"""Where the packages of a host come from: what its distribution has, and the sources that the deploy adds. Pure.

Only packages that the cluster needs are taken from an added source: apt's preferences keep everything else in it back.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, get_args

from . import paths
from .package_files import PackageFile, package_files
from .releases import Release
from .survey import HostSurvey
from .topology import Cluster, Host

Name = Literal["pgdg", "etcd"]
NAMES: tuple[Name, ...] = get_args(Name)
PREFERRED = 600  # above the 500 of what a host has from elsewhere
ONLY_AS_DEPENDENCY, NEVER = 100, -1

# The release of Debian whose etcd is taken where a distribution's own is too old: it installs on all of those below.
ETCD_RELEASE = "forky"
MIRRORS = "https://www.debian.org/mirror/list"
DEBIAN_KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"
POSTGRES_KEY = "/usr/share/postgresql-common/pgdg/apt.postgresql.org.asc"
KEYS = "/etc/apt/keyrings"
ARMOURED = "-----BEGIN PGP PUBLIC KEY BLOCK-----"
# The first systemd that can read the line by which the package of that etcd makes its user.
READS_LOCKED_USERS = 257


@dataclass(frozen=True)
class Source:
    """A source of packages that a host gets.

    `signed_by` is the file of its key there, which is the operator's own (`key`, a path on the operator's machine) or comes with
    `key_package` of the distribution. `pin` is what apt's preferences know it by, `rest` the priority of what is in it and not
    among `packages`. `there` is the file in which somebody else has added it: then it is left as it is.
    """

    name: Name
    what: str
    purpose: str
    uri: str
    suite: str
    signed_by: str
    pin: str
    packages: tuple[str, ...]
    rest: int
    key: str | None = None
    key_package: str | None = None
    there: str = ""
    priority: int = PREFERRED

    @property
    def settings(self) -> tuple[str, str]:
        """What it is set by: its URL and its key."""
        component = "postgres" if self.name == "pgdg" else self.name
        return f"{component}_source_url", f"{component}_source_key"

    @property
    def file(self) -> str:
        """Where apt reads of it."""
        return self.there or paths.apt_source(self.name)

    @property
    def preferences(self) -> str:
        """Where apt reads what is taken from it."""
        return paths.apt_preferences(self.name)

    def version(self, package: str) -> str | None:
        """The version of a package in it: not known before it is read."""
        return None

    def added_on(self, hosts: str) -> str:
        """What a deploy does with it, in words."""
        return f"{self.what} ({self.uri} {self.suite}) is added on {hosts}, for {self.purpose} alone"

    def serves(self, package: str) -> bool:
        """Whether a package of ours is taken from it."""
        return package in self.packages


def sources(cluster: Cluster, member: Host, survey: HostSurvey) -> tuple[Source, ...]:
    """What a host needs beside its distribution; nothing for a release that is not known."""
    release = survey.release
    if release is None:
        return ()
    carried = {component.name for component in cluster.components(member)}
    found = []
    if wanted := _of_project(cluster, member, release):
        found.append(_project(cluster, release, survey, wanted))
    if "etcd" in carried and _etcd_from_debian(cluster, release):
        found.append(_debian(cluster, survey))
    return tuple(found)


def problems(cluster: Cluster, member: Host, survey: HostSurvey) -> Iterator[str]:
    """Why a host can't have the packages that the cluster needs, with the way out."""
    release = survey.release
    carried = {component.name for component in cluster.components(member)}
    if release is None:
        return
    version, postgres, etcd = cluster.postgres.version, cluster.postgres.source, cluster.etcd.source
    if _needs_postgres(cluster, member) and postgres == "distribution" and not _has_postgres(cluster, release):
        yield (
            f"postgres_source = 'distribution', but {release.called} has no PostgreSQL {version} with a Patroni that will do:"
            " should be 'auto' or 'pgdg'"
        )
    if "etcd" in carried and etcd == "distribution" and "etcd" not in release.good:
        yield f"etcd_source = 'distribution', but etcd of {release.called} is too old: should be 'auto', 'debian' or 'files'"
    if "pgbouncer" in carried and postgres == "distribution" and "pgbouncer" not in release.good:
        need = "should be 'auto' or 'pgdg', or pooling = False"
        yield f"postgres_source = 'distribution', but PgBouncer of {release.called} is too old: {need}"
    if "pgbackrest" in carried and postgres == "distribution" and "pgbackrest" not in release.good:
        need = "should be 'auto' or 'pgdg', or group 'backup' should have no hosts"
        yield f"postgres_source = 'distribution', but pgBackRest of {release.called} is too old: {need}"
    for source in sources(cluster, member, survey):
        if not source.uri:
            yield (
                f"etcd of {release.called} is too old, and no mirror of Debian is known there: should be one that you choose, as"
                f" etcd_source_url = 'http://mirror.example.com/debian' in group_data/etcd.py ({MIRRORS} lists them); etcd alone"
                " is taken from it, by Debian's own key. Or set etcd_source to 'files'"
            )


def origins(cluster: Cluster, member: Host, survey: HostSurvey) -> tuple[Source | PackageFile, ...]:
    """Where a host gets what is not its distribution's: sources, and packages that are files."""
    return (*sources(cluster, member, survey), *package_files(cluster, member))


def announced(needed: Mapping[str, Collection[Source | PackageFile]]) -> Iterator[str]:
    """What a deploy will add on hosts, by name, a sentence for each source."""
    for one in dict.fromkeys(origin for found in needed.values() for origin in found if not origin.there):
        yield one.added_on(", ".join(name for name, found in needed.items() if one in found))


def key_problems(cluster: Cluster) -> Iterator[str]:
    """What is wrong with the files of keys that the settings name, which are read here."""
    for setting in ("postgres_source_key", "etcd_source_key"):
        name = cluster.setting(setting)
        try:
            text = Path(name).read_text(encoding="ascii") if name else ARMOURED
        except (OSError, ValueError) as error:
            text = f"({getattr(error, 'strerror', None) or 'no text'})"
        if not text.lstrip().startswith(ARMOURED):
            yield f"{setting} = {name!r}: should be the path of an armoured public key here, which begins with {ARMOURED}"


def shadows_sysusers(survey: HostSurvey, needed: tuple[Source | PackageFile, ...]) -> bool:
    """Whether a host's systemd can't read the file by which etcd's package makes its user, and needs one in its place."""
    release = survey.release
    return release is not None and release.systemd < READS_LOCKED_USERS and any(one.serves("etcd-server") for one in needed)


def _needs_postgres(cluster: Cluster, member: Host) -> bool:
    """Whether a host has PostgreSQL's programs: where its data is, and where drills of backups run it."""
    return f"postgresql-{cluster.postgres.version}" in cluster.packages(member)


def _has_postgres(cluster: Cluster, release: Release) -> bool:
    return release.postgres == cluster.postgres.version and {"postgres", "patroni"} <= release.good


def _of_project(cluster: Cluster, member: Host, release: Release) -> tuple[str, ...]:
    """The packages that a host takes from the PostgreSQL project's repository."""
    choice, version = cluster.postgres.source, cluster.postgres.version
    needed, wanted = cluster.packages(member), list[str]()
    if _needs_postgres(cluster, member) and (choice == "pgdg" or (choice == "auto" and not _has_postgres(cluster, release))):
        wanted += [f"postgresql-{version}", f"postgresql-client-{version}", "postgresql-common", "postgresql-client-common"]
        wanted += ["patroni", "python3-psycopg2"] if "patroni" in needed else []
    if "pgbackrest" in needed and (choice == "pgdg" or (choice == "auto" and "pgbackrest" not in release.good)):
        wanted += ["pgbackrest"]
    if "pgbouncer" in needed and (choice == "pgdg" or (choice == "auto" and "pgbouncer" not in release.good)):
        wanted += ["pgbouncer"]
    return (*wanted, "libpq5") if wanted else ()


def _etcd_from_debian(cluster: Cluster, release: Release) -> bool:
    choice = cluster.etcd.source
    return choice == "debian" or (choice == "auto" and "etcd" not in release.good)


def _project(cluster: Cluster, release: Release, survey: HostSurvey, wanted: tuple[str, ...]) -> Source:
    key = cluster.postgres.source_key
    version = cluster.postgres.version
    programs = {f"postgresql-{version}": f"PostgreSQL {version}", "patroni": "Patroni", "pgbackrest": "pgBackRest"}
    programs["pgbouncer"] = "PgBouncer"
    *others, last = (said for package, said in programs.items() if package in wanted)
    return Source(
        name="pgdg",
        what="the PostgreSQL project's repository",
        purpose=" and ".join([*filter(None, [", ".join(others)]), last]),
        uri=cluster.postgres.source_url,
        suite=f"{release.codename}-pgdg",
        signed_by=f"{KEYS}/pgquorum-pgdg.asc" if key else POSTGRES_KEY,
        pin="o=apt.postgresql.org",
        packages=wanted,
        rest=ONLY_AS_DEPENDENCY,
        key=key,
        key_package=None if key else release.key_package,
        there=survey.postgres_source,
    )


def _debian(cluster: Cluster, survey: HostSurvey) -> Source:
    key = cluster.etcd.source_key
    return Source(
        name="etcd",
        what=f"Debian {ETCD_RELEASE}",
        purpose="etcd",
        uri=cluster.etcd.source_url or survey.mirror,
        suite=ETCD_RELEASE,
        signed_by=f"{KEYS}/pgquorum-etcd.asc" if key else DEBIAN_KEY,
        pin=f"o=Debian,n={ETCD_RELEASE}",
        packages=("etcd-server", "etcd-client"),
        rest=NEVER,
        key=key,
        key_package=None if key else "debian-archive-keyring",
    )
