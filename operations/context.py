"""What every phase of a deploy knows: the cluster, its secrets, and what a survey of the hosts saw before anything changed."""

from __future__ import annotations

import getpass
import json
import socket
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pyinfra import host

from cluster.last_deploy import LastDeploy
from cluster.package_files import PackageFile, package_files
from cluster.sources import Source, sources
from cluster.survey import HostSurvey, log_directories
from cluster.topology import Cluster, Host
from cluster.vault import Vault
from cluster.version import Version


@dataclass(frozen=True)
class Run:
    """One run of the deploy."""

    cluster: Cluster
    vault: Vault
    surveys: dict[str, HostSurvey]
    version: Version  # of this checkout
    shared: dict[str, str]  # what is to be noted of what holds for all hosts
    last_deploy: LastDeploy  # and of this deploy

    @property
    def host(self) -> Host:
        """The host that deploy.py is being loaded for."""
        return self.cluster.host(host.name)

    @property
    def marker(self) -> str | None:
        """What to write into the host's marker, or None when it already bears the cluster's and this version.

        Of what is in it only the version ever changes.
        """
        marker = self.surveys[host.name].belongs_to
        if marker.get("id") != self.vault.cluster_id:
            origin = f"{getpass.getuser()}@{socket.gethostname()}:{Path.cwd()}"
            marker = {"cluster": self.cluster.name, "id": self.vault.cluster_id, "host": host.name, "deployed_from": origin}
        if marker.get("version") == str(self.version):
            return None
        return json.dumps({**marker, "version": str(self.version)}) + "\n"

    @property
    def log_directories(self) -> tuple[str, ...]:
        """The directories of the host's in which the write-ahead log is or will be, beside that of its data."""
        return log_directories(self.cluster, self.surveys[host.name])

    @property
    def sources(self) -> tuple[Source, ...]:
        """The sources of packages that the host needs beside its distribution."""
        return sources(self.cluster, self.host, self.surveys[host.name])

    @property
    def package_files(self) -> tuple[PackageFile, ...]:
        """The files that packages of the host come from."""
        return package_files(self.cluster, self.host)

    def first(self, hosts: Iterable[Host]) -> Host | None:
        """The first of `hosts` that takes part in this run."""
        return next((h for h in hosts if h.name in self.surveys), None)

    @property
    def new_cluster(self) -> bool:
        """Whether no host of this run has ever been part of the cluster."""
        return not any(survey.postgres_data == "cluster" for survey in self.surveys.values())


def warn(text: str) -> None:
    """A line that the user should see and that stops nothing."""
    print(f"    {text}", file=sys.stderr)
