"""The secrets of one cluster: a directory on the operator's machine that git ignores, and nothing else knows.

    secrets/<cluster>/            0700
        passwords.json            0600   the cluster's identity and every password
        etcd-ca.{key,crt}         0600   who may join and read etcd; of several certificates the first signs, all are trusted
        postgres-ca.{key,crt}     0600   whom clients, replicas and HAProxy trust
        haproxy-ca.{key,crt}      0600   whom a browser of the statistics may trust
        backup-ca.{key,crt}       0600   who may archive, and read and make backups: where there is a host in group `backup`
        <host>-<use>.{key,crt}    0600   what each host shows
        repository-<name>.*       0600   the owner's keys of a store elsewhere (repository_keys.py): read, never written

A password may come from the environment instead (PGQUORUM_PASSWORD_REPLICATION and so on); then it is never written here.
An authority for each: who may talk to PostgreSQL must not thereby be able to write to etcd, and a HAProxy host that was taken
over must not be able to pass for PostgreSQL, unless it pools connections: PgBouncer has to. `backup_cipher` among the passwords
is what backups are encrypted with: without it nobody can read them.
"""

from __future__ import annotations

import json
import os
import re
import secrets
import stat
import uuid
from collections.abc import Mapping
from pathlib import Path

from . import certificates, entry, paths
from .certificates import Pair
from .components import COMPONENTS, Certificate
from .errors import ClusterError
from .repositories import Place
from .repository_keys import keys_of
from .topology import Cluster, Host

ENVIRONMENT_PREFIX = "PGQUORUM_PASSWORD_"
MINIMUM_LENGTH = 12
UNMAPPED = 65534  # whose a folder looks like in a container that knows its owner not: the machine's root, as a rule
FROM_ENVIRONMENT = ""  # what passwords.json holds in place of a password that came from the environment


def password_names(cluster: Cluster) -> list[str]:
    """The names of all passwords the cluster needs: the system's own, and `role_<name>` for each role."""
    systems = [password for component in cluster.used_components for password in component.passwords]
    return [*systems, *(f"role_{role.name}" for role in cluster.postgres.roles)]


class Vault:
    """All secrets of one cluster, complete in memory. Nothing is written before `save`."""

    def __init__(self, cluster: Cluster, environment: Mapping[str, str] = os.environ) -> None:
        """Reads what is there and makes what is missing. Raises ClusterError for a file or variable that can't be right."""
        self.directory = Path(cluster.all.secrets_directory) / cluster.name
        try:
            self.existed = (self.directory / "passwords.json").exists()
        except OSError as error:
            raise ClusterError(f"{self.directory} can't be read ({error.strerror}): who deployed the cluster can") from None
        self._refuse_loose_parents()
        if self.directory.exists():
            self._refuse_loose()
        self._unsaved: dict[str, bytes] = {}
        self._environment = environment
        stored = self._read_passwords()
        known = set(stored)
        self.cluster_id: str = stored.get("cluster_id") or str(uuid.uuid4())
        # Salts of SCRAM verifiers are derived from it (cluster/scram.py): they must not be guessed from a verifier's hash.
        self.scram_seed: str = stored.get("scram_seed") or secrets.token_urlsafe(24)
        self._passwords: dict[str, str] = {}
        for name in password_names(cluster):
            variable = ENVIRONMENT_PREFIX + name.upper()
            if variable in environment:
                self._passwords[name] = _checked(variable, environment[variable])
                stored.setdefault(name, FROM_ENVIRONMENT)
            elif stored.get(name) == FROM_ENVIRONMENT:
                # Another one would be of no use: backups can be read with that one alone (stores.py).
                otherwise = (
                    f"without it nobody can read the backups (the host that keeps them has it in {paths.BACKUP_CIPHER})"
                    if name == "backup_cipher"
                    else f"or take {name!r} out of {self.directory}/passwords.json to have a new one made"
                )
                raise ClusterError(
                    f"{variable} is not in the environment: the cluster was deployed with a password from there, and it is"
                    f" kept nowhere else. Set it, {otherwise}"
                )
            else:
                self._passwords[name] = stored[name] = stored.get(name) or secrets.token_urlsafe(24)
        # A role that was taken out of the settings keeps its password: putting the role back must not change it.
        self.authorities = {
            name: self._authority(f"{name}-ca", f"{cluster.name} {name}", made_before=bool(passwords & known))
            for name, passwords in _authorities(cluster).items()
        }
        self._certificates = {
            (host.name, certificate.use): self._certificate(cluster, host, certificate)
            for component in COMPONENTS
            for certificate in component.certificates
            for host in cluster.carriers(component)
        }
        # Last, for it is what makes the vault one: a save that was interrupted before it begins anew.
        stored = {"cluster_id": self.cluster_id, "scram_seed": self.scram_seed, **stored}
        self._offer("passwords.json", json.dumps(stored, indent=2).encode() + b"\n")

    def password(self, name: str) -> str:
        """The password called `name` (see password_names)."""
        return self._passwords[name]

    def certificate(self, host: str, use: str) -> Pair:
        """The key and certificate of a host for one of its uses (cluster/components.py)."""
        return self._certificates[host, use]

    @property
    def trusted(self) -> dict[str, bytes]:
        """The certificates of each authority by its name: of those that sign here, and of others that are trusted beside them."""
        return {name: pair.certificate for name, pair in self.authorities.items()}

    def repository_keys(self, place: Place) -> dict[str, str]:
        """The keys of a repository, by pgBackRest's names; read when they are asked for, since few commands need them. Raises
        ClusterError where one is missing."""
        return keys_of(place, self.directory, self._environment)

    def all_secrets(self) -> list[str]:
        """Every password, for a test that looks for them where they must not be."""
        return list(self._passwords.values())

    def save(self) -> list[str]:
        """Writes what is new or renewed, each file complete or not at all; returns the names written.

        Raises ClusterError when somebody else has made the cluster's secrets since these were read.
        """
        if self._read_passwords().get("cluster_id", self.cluster_id) != self.cluster_id:
            raise ClusterError(f"{self.directory} was made by another run meanwhile: run again")
        if self._unsaved:
            self.directory.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            self.directory.mkdir(mode=0o700, exist_ok=True)
            if not (self.directory / ".gitignore").exists():  # wherever secrets_directory is
                write_private(self.directory / ".gitignore", b"*\n")
        for name, content in self._unsaved.items():
            write_private(self.directory / name, content)
        written = list(self._unsaved)
        self._unsaved.clear()
        return written

    def _refuse_loose(self) -> None:
        """Nobody else may read what is in the directory, as happens to one that was restored or copied."""
        for path in (self.directory, *self.directory.glob("*")):
            status = path.stat()
            if status.st_mode & 0o077 or status.st_uid != os.geteuid():
                raise ClusterError(
                    f"{path} can be read by others, or belongs to somebody else: chown -R $USER {self.directory}"
                    f" && chmod -R go= {self.directory}"
                )

    def _refuse_loose_parents(self) -> None:
        """Nobody else may put another directory in the place of this one. In one like /tmp they can't (its sticky bit)."""
        real, named = self.directory.resolve(), self.directory.absolute()
        for path in dict.fromkeys((*real.parents, *named.parents)):
            if not path.exists():
                continue
            status = path.stat()
            # Root works in the folders of those who called it, as `sudo make demo` does.
            if os.geteuid() and status.st_uid not in (0, os.geteuid(), UNMAPPED):
                raise ClusterError(
                    f"{path} belongs to somebody else, who could put their own secrets in the place of the cluster's in"
                    f" {self.directory}: set secrets_directory to a folder below one of yours, or chown {path}"
                )
            others = 0o022 if path in (real.parent, named.parent) else 0o002
            mode = status.st_mode
            if mode & others and not mode & stat.S_ISVTX:
                raise ClusterError(
                    f"{path} can be written to by others, who could put their own secrets in the place of the cluster's in"
                    f" {self.directory}: chmod go-w {path}"
                )

    def _read_passwords(self) -> dict[str, str]:
        path = self.directory / "passwords.json"
        if not self.existed:
            return {}
        try:
            stored = json.loads(path.read_text(encoding="utf-8"))
            if not isinstance(stored, dict) or not all(isinstance(v, str) for v in stored.values()):
                raise ValueError("not an object of strings")
        except (OSError, ValueError) as error:
            raise ClusterError(
                f"{path} can't be read ({error}): restore it from a backup, it holds the cluster's passwords"
            ) from None
        return stored

    def _offer(self, name: str, content: bytes) -> None:
        path = self.directory / name
        if not path.exists() or path.read_bytes() != content:
            self._unsaved[name] = content

    def _stored_pair(self, stem: str) -> Pair | None:
        key, certificate = self.directory / f"{stem}.key", self.directory / f"{stem}.crt"
        if not (key.exists() and certificate.exists()):
            return None
        return Pair(key.read_bytes(), certificate.read_bytes())

    def _authority(self, stem: str, name: str, *, made_before: bool) -> Pair:
        pair = self._stored_pair(stem)
        if pair is None:
            if made_before:
                raise ClusterError(
                    f"{self.directory / stem}.key or .crt is missing beside passwords.json: restore the directory from a"
                    " backup; a new authority would not be trusted by the hosts that run"
                )
            pair = certificates.make_authority(name)
        elif why := certificates.why_no_authority(pair):
            raise ClusterError(f"{self.directory / stem}.key and .crt: {why}")
        self._offer(f"{stem}.key", pair.key)
        self._offer(f"{stem}.crt", pair.certificate)
        return pair

    def _certificate(self, cluster: Cluster, host: Host, kind: Certificate) -> Pair:
        stem = f"{host.name}-{kind.use}"
        wanted = certificates.Wanted(host.name, _names(cluster, host, kind.use), cluster.all.certificate_days, kind.ends)
        authority = self.authorities[kind.authority]
        pair = self._stored_pair(stem)
        if pair is None or certificates.why_renew(pair, wanted, authority):
            pair = certificates.make_certificate(wanted, authority)
        self._offer(f"{stem}.key", pair.key)
        self._offer(f"{stem}.crt", pair.certificate)
        return pair


def _authorities(cluster: Cluster) -> dict[str, set[str]]:
    """The authorities by name, each with the passwords that were made when it was: those of the components it signs for."""
    found: dict[str, set[str]] = {}
    for component in cluster.used_components:
        for certificate in component.certificates:
            found.setdefault(certificate.authority, set()).update(component.passwords)
    return found


def _names(cluster: Cluster, host: Host, use: str) -> tuple[str, ...]:
    """The names and addresses a certificate bears. PostgreSQL's has HAProxy's too: a client that goes through port 5000 sees
    the primary's certificate and asks whether it is valid for the name it connected to, which may be one of the owner's."""
    own = [host.name, host.address, "localhost", "127.0.0.1"]
    if host.settings.ssh_hostname:
        own.append(host.settings.ssh_hostname)
    if use == "postgres":
        for proxy in cluster.haproxy_hosts:
            own += [proxy.name, proxy.address, proxy.ssh_hostname]
    if use in ("postgres", "haproxy", "pgbouncer"):
        own += entry.names(cluster)
        own += cluster.all.certificate_names
    return tuple(dict.fromkeys(own))


def _checked(variable: str, value: str) -> str:
    if len(value) < MINIMUM_LENGTH or not re.fullmatch(r"[!#-&(-\[\]-~]+", value):
        raise ClusterError(
            f"{variable} (in the environment): should be at least {MINIMUM_LENGTH} printable ASCII characters,"
            " without spaces, quotes or backslashes"
        )
    return value


def write_private(path: Path, content: bytes) -> None:
    """Writes `content` to `path` as a file only its owner can read, complete or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.rename(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
