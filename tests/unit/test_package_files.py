"""Packages that are files: which do, where they come from, and what is compared before anything is touched."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest
from clusters import cluster, problems
from clusters import hosts as inventory

from cluster.fitness import refusals
from cluster.package_files import PackageFile, package_files
from cluster.sources import announced, origins, shadows_sysusers
from cluster.survey import HostSurvey
from cluster.version import Version

SERVER, CLIENT = "etcd-server_3.5.30-2_amd64.deb", "https://mirror.example.com/pool/etcd-client_3.5.30-2_amd64.deb"
ANY = "0" * 64
NOBLE = HostSurvey(system="ubuntu", codename="noble")


def files(*origins_: str) -> dict[str, object]:
    return {"etcd_source": "files", "etcd_files": dict.fromkeys(origins_, ANY)}


def test_a_host_of_etcd_takes_them_and_no_source_of_etcd() -> None:
    of = cluster(**files(SERVER, CLIENT))
    found = origins(of, of.host("db1"), NOBLE)
    assert [getattr(one, "package", "") for one in found] == ["", "etcd-server", "etcd-client"]
    assert package_files(of, of.host("proxy1")) == ()
    assert package_files(cluster(), cluster().host("db1")) == ()


def test_what_a_file_is_is_told_by_its_name() -> None:
    server, client = PackageFile(f"packages/{SERVER}", ANY), PackageFile(CLIENT, ANY)
    assert (server.package, server.version("etcd-server"), server.version("etcd-client")) == ("etcd-server", "3.5.30-2", None)
    assert (server.fetched, client.fetched) == (False, True)
    assert client.on_host == "/var/cache/pgquorum/etcd-client_3.5.30-2_amd64.deb"


def test_a_release_whose_etcd_is_too_old_and_that_has_no_mirror_is_served_by_files(tmp_path: Path) -> None:
    of = cluster(etcd_source="files", etcd_files=lying_in(tmp_path))
    assert refusals(of, {"db1": NOBLE}, "id", True, Version(0, 2, 0)) == []


def lying_in(folder: Path, **contents: bytes) -> dict[str, str]:
    """Two files there, by what is said of them. `contents` is what one has instead."""
    found = {}
    for package in ("etcd-server", "etcd-client"):
        file = folder / f"{package}_3.5.30-2_amd64.deb"
        file.write_bytes(contents.get(package.replace("-", "_"), b"right"))
        found[str(file)] = hashlib.sha256(b"right").hexdigest().upper()
    return found


def test_another_file_is_refused_with_both_sums(tmp_path: Path) -> None:
    said = lying_in(tmp_path, etcd_client=b"wrong")
    (line,) = refusals(cluster(etcd_source="files", etcd_files=said), {}, "id", True, Version(0, 2, 0))
    right, wrong = (hashlib.sha256(text).hexdigest() for text in (b"right", b"wrong"))
    assert line.startswith(f"etcd_files: the SHA-256 of {tmp_path}/etcd-client_3.5.30-2_amd64.deb is {wrong}, should be {right}")


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    said = lying_in(tmp_path)
    (tmp_path / SERVER).unlink()
    (line,) = refusals(cluster(etcd_source="files", etcd_files=said), {}, "id", True, Version(0, 2, 0))
    assert line == f"etcd_files has '{tmp_path}/{SERVER}': should be the path of a file here (No such file or directory)"


@pytest.mark.parametrize(
    ("settings", "right"),
    [
        (files(SERVER), "etcd_files has etcd-server: should have one file for each of etcd-server, etcd-client"),
        (files(), "etcd_files has nothing: should have one file for each of"),
        (files(SERVER, CLIENT, "other/" + SERVER), "etcd_files has etcd-client, etcd-server, etcd-server: should have one"),
        ({"etcd_files": {SERVER: ANY, CLIENT: ANY}}, "etcd_files is set, but etcd_source = 'auto': should be 'files'"),
        (files("etcd-server.deb", CLIENT), "should be the path or URL of a Debian package, such as"),
        (files("https://user:secret@x/" + SERVER, CLIENT), "should be the path or URL of a Debian package, such as"),
        (files("a b/" + SERVER, CLIENT), "should be the path or URL of a Debian package, such as"),
        ({"etcd_source": "files", "etcd_files": {SERVER: "abc", CLIENT: ANY}}, "should be a SHA-256, 64 hexadecimal digits"),
    ],
)
def test_what_does_not_name_both_packages_is_refused(settings: dict[str, object], right: str) -> None:
    (line,) = problems(inventory(**settings))
    assert right in line


def test_what_will_be_installed_is_announced_by_file_and_host() -> None:
    of = cluster(postgres_source="distribution", **files(SERVER, CLIENT))
    forky = HostSurvey(system="debian", codename="forky")
    said = list(announced({name: origins(of, of.host(name), forky) for name in ("db1", "db2", "proxy1")}))
    assert said == [
        f"etcd-server is installed from {SERVER} on db1, db2, if its SHA-256 is 000000000000…",
        f"etcd-client is installed from {CLIENT} on db1, db2, if its SHA-256 is 000000000000…",
    ]


@pytest.mark.parametrize(("codename", "shadowed"), [("jammy", True), ("noble", True), ("resolute", False)])
def test_etcds_user_is_made_by_our_words_where_systemd_can_not_read_the_packages(codename: str, shadowed: bool) -> None:
    of = cluster(**files(SERVER, CLIENT))
    assert shadows_sysusers(replace(NOBLE, codename=codename), package_files(of, of.host("db1"))) is shadowed
