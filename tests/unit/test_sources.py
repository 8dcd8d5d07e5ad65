"""Where packages come from, by the release that a host runs and by the settings."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from clusters import cluster, problems
from clusters import hosts as inventory

from cluster.fitness import refusals
from cluster.releases import RELEASES, release
from cluster.sources import Source, announced, shadows_sysusers, sources
from cluster.survey import HostSurvey, parse_survey, survey_command
from cluster.topology import Cluster
from cluster.version import Version
from operations.managed import render

MIRROR = "http://mirror.example.com/debian/"


def on(codename: str, **more: str) -> HostSurvey:
    """A blank host of a release."""
    system = next(one.system for one in RELEASES if one.codename == codename)
    return replace(HostSurvey(system=system, codename=codename, mirror=MIRROR if system == "debian" else ""), **more)


def added(codename: str, of: Cluster | None = None, host: str = "db1", **more: str) -> dict[str, Source]:
    of = of or cluster()
    return {one.name: one for one in sources(of, of.host(host), on(codename, **more))}


def refused(codename: str, **settings: str) -> list[str]:
    of = cluster(**settings)
    return refusals(of, {"db1": on(codename)}, "id", True, Version(0, 2, 0))


@pytest.mark.parametrize("codename", [one.codename for one in RELEASES])
def test_a_release_that_is_supported_is_served_with_the_settings_as_they_are_shipped(codename: str) -> None:
    """But for Ubuntu, where a mirror of Debian has to be named for etcd."""
    ubuntu = on(codename).system == "ubuntu"
    assert bool(refused(codename)) is ubuntu
    found = added(codename, cluster(**({"etcd_source_url": MIRROR.rstrip("/")} if ubuntu else {})))
    mine = release(on(codename).system, codename)
    assert mine
    for component, names in (("postgres", ["postgresql-18"]), ("patroni", ["patroni"]), ("etcd", ["etcd-server", "etcd-client"])):
        served = all(any(source.serves(name) for source in found.values()) for name in names)
        its_own = component in mine.good and (component not in ("postgres", "patroni") or mine.postgres == 18)
        assert served or its_own, component


def test_a_release_that_has_all_gets_nothing() -> None:
    assert added("forky") == {}


def test_a_proxy_gets_no_source() -> None:
    assert added("trixie", host="proxy1") == {}


def test_but_for_pgbouncer_where_the_release_has_one_that_is_too_old() -> None:
    pooled = cluster(pooling=True)
    source = added("trixie", pooled, "proxy1")["pgdg"]
    assert source.serves("pgbouncer") and not source.serves("postgresql-18")
    assert source.purpose == "PgBouncer"
    assert added("forky", pooled, "proxy1") == {}
    assert not added("trixie", pooled)["pgdg"].serves("pgbouncer")  # a database host
    of = cluster(pooling=True, postgres_source="distribution")
    (line,) = refusals(of, {"proxy1": on("trixie")}, "id", True, Version(0, 2, 0))
    assert "PgBouncer of Debian 13 (trixie) is too old: should be 'auto' or 'pgdg', or pooling = False" in line


def test_debian_13_gets_postgresql_and_patroni_from_the_project_and_etcd_from_the_mirror_it_uses() -> None:
    found = added("trixie")
    assert (found["pgdg"].uri, found["pgdg"].suite) == ("https://apt.postgresql.org/pub/repos/apt", "trixie-pgdg")
    assert found["pgdg"].key_package == "postgresql-client-common"
    assert (found["etcd"].uri, found["etcd"].suite, found["etcd"].packages) == (MIRROR, "forky", ("etcd-server", "etcd-client"))


def test_a_source_that_somebody_has_added_is_left_as_it_is_and_only_preferred_for_our_packages() -> None:
    source = added("trixie", postgres_source="/etc/apt/sources.list.d/pgdg.list")["pgdg"]
    assert source.file == "/etc/apt/sources.list.d/pgdg.list"
    preferences = render("apt/pgquorum.pref.j2", source=source)
    assert preferences.count("Package:") == 1
    assert "Package: *" not in preferences
    assert list(announced({"db1": [source]})) == []


def test_pgbackrest_comes_from_the_project_where_the_release_has_an_old_one() -> None:
    backed_up = cluster(backup=True)
    assert added("forky", backed_up) == added("forky", backed_up, "keep1") == {}
    assert added("trixie", backed_up)["pgdg"].serves("pgbackrest") and added("trixie", backed_up)["pgdg"].serves("patroni")
    assert added("trixie", backed_up)["pgdg"].purpose == "PostgreSQL 18, Patroni and pgBackRest"
    keeper = added("trixie", backed_up, "keep1")["pgdg"]
    assert keeper.serves("postgresql-18") and keeper.serves("pgbackrest") and not keeper.serves("patroni")
    assert keeper.purpose == "PostgreSQL 18 and pgBackRest"  # drills run PostgreSQL there
    assert not added("trixie")["pgdg"].serves("pgbackrest")


def test_of_debian_nothing_but_etcd_is_taken() -> None:
    preferences = render("apt/pgquorum.pref.j2", source=added("trixie")["etcd"])
    first, second = (block.splitlines() for block in preferences.split("\n\n"))
    assert first[1:] == ["Package: etcd-server etcd-client", "Pin: release o=Debian,n=forky", "Pin-Priority: 600"]
    assert second == ["Package: *", "Pin: release o=Debian,n=forky", "Pin-Priority: -1"]


def test_a_source_of_ones_own_with_its_key(tmp_path: Path) -> None:
    key = tmp_path / "key.asc"
    key.write_text("-----BEGIN PGP PUBLIC KEY BLOCK-----\n")
    of = cluster(postgres_source_url="https://mirror.example.com/pgdg/", postgres_source_key=str(key))
    source = added("bookworm", of)["pgdg"]
    text = render("apt/pgquorum.sources.j2", source=source)
    assert "URIs: https://mirror.example.com/pgdg\nSuites: bookworm-pgdg\nComponents: main\n" in text
    assert "Signed-By: /etc/apt/keyrings/pgquorum-pgdg.asc\n" in text
    assert source.key_package is None


def test_what_a_distribution_has_can_be_insisted_on_where_it_does() -> None:
    assert added("forky", cluster(postgres_source="pgdg")).keys() == {"pgdg"}
    assert added("forky", cluster(etcd_source="debian")).keys() == {"etcd"}
    assert added("trixie", cluster(etcd_source="distribution")).keys() == {"pgdg"}


def test_a_distribution_that_does_not_have_it_is_refused_with_the_way_out() -> None:
    assert refused("forky", postgres_source="distribution", etcd_source="distribution") == []
    (line,) = refused("trixie", postgres_source="distribution")
    assert "postgres_source = 'distribution', but Debian 13 (trixie) has no PostgreSQL 18" in line
    assert "should be 'auto' or 'pgdg'" in line
    (line,) = refused("resolute", postgres_source="distribution", etcd_source_url="https://mirror.example.com/debian")
    assert "Ubuntu 26.04 (resolute) has no PostgreSQL 18 with a Patroni that will do" in line
    (line,) = refused("trixie", etcd_source="distribution")
    assert "etcd of Debian 13 (trixie) is too old: should be 'auto', 'debian' or 'files'" in line


def test_where_no_mirror_of_debian_is_known_one_has_to_be_named() -> None:
    (line,) = refused("noble")
    assert line.startswith("host db1: etcd of Ubuntu 24.04 (noble) is too old, and no mirror of Debian is known there: should be")
    assert "etcd_source_url = 'http://mirror.example.com/debian' in group_data/etcd.py" in line
    assert refused("noble", etcd_source_url="https://mirror.example.com/debian") == []


@pytest.mark.parametrize(("system", "codename"), [("debian", "bullseye"), ("ubuntu", "focal"), ("debian", "")])
def test_a_release_that_is_not_supported_is_refused_by_name(system: str, codename: str) -> None:
    survey = HostSurvey(system=system, system_version="11" if codename else "", codename=codename)
    (line,) = refusals(cluster(), {"db1": survey}, "id", True, Version(0, 2, 0))
    told = f"11 ({codename})" if codename else "of no known release"
    assert line.startswith(f"host db1: runs {system} {told}: should be one of Debian 12 (bookworm), ")


def test_a_key_that_is_none_is_refused(tmp_path: Path) -> None:
    binary = tmp_path / "key.gpg"
    binary.write_bytes(b"\x99\x01\x00")
    for name in (str(binary), str(tmp_path / "missing.asc")):
        (line,) = refused("trixie", postgres_source_key=name)
        assert line.startswith(f"postgres_source_key = {name!r}: should be the path of an armoured public key here")


@pytest.mark.parametrize(
    "url", ["apt.postgresql.org", "ftp://x/y", "https://x/a b", "https://user:secret@x/y", "file:relative", ""]
)
def test_what_is_no_url_of_a_repository_is_refused(url: str) -> None:
    (line,) = problems(inventory(postgres_source_url=url))
    assert "should be the URL of a repository" in line


@pytest.mark.parametrize(("codename", "shadowed"), [("bookworm", True), ("noble", True), ("trixie", False), ("forky", False)])
def test_etcds_user_is_made_by_our_words_where_systemd_can_not_read_the_packages(codename: str, shadowed: bool) -> None:
    of = cluster(etcd_source="debian", etcd_source_url="https://mirror.example.com/debian")
    assert shadows_sysusers(on(codename), sources(of, of.host("db1"), on(codename))) is shadowed


def test_hosts_are_asked_for_a_mirror_only_where_one_is_needed() -> None:
    assert "case $VERSION_CODENAME in bookworm|trixie)" in survey_command(cluster())
    assert "case $VERSION_CODENAME in bookworm|trixie|forky)" in survey_command(cluster(etcd_source="debian"))
    for settings in ({"etcd_source": "distribution"}, {"etcd_source_url": "https://mirror.example.com/debian"}):
        assert "case $VERSION_CODENAME in -)" in survey_command(cluster(**settings))


def surveyed(folder: Path, of: Cluster, codename: str = "trixie") -> HostSurvey:
    """What the survey's script says here, with the sources of apt that `folder` has for those of this machine."""
    (folder / "os-release").write_text(f"ID=debian\nVERSION_CODENAME={codename}\n")
    lists = f'Dir::Etc::sourcelist "{folder}/sources.list";\nDir::Etc::sourceparts "{folder}/sources.list.d";\n'
    (folder / "apt.conf").write_text(f'{lists}Dir::State::lists "{folder}/lists";\nDir::Cache "{folder}";\n')
    words = shlex.split(survey_command(of))
    script = words[words.index("-c") + 1].rstrip(";").replace("/etc/os-release", f"{folder}/os-release")
    run = subprocess.run(
        ["sh", "-c", script.replace("/etc/apt/", f"{folder}/")], env=os.environ | {"APT_CONFIG": f"{folder}/apt.conf"},
        stdout=subprocess.PIPE, text=True, timeout=60, check=True
    )  # fmt: skip
    return parse_survey(run.stdout.splitlines(), 0)


PROJECT = "https://apt.postgresql.org/pub/repos/apt"
DEBIAN = f"deb {MIRROR} trixie main\n"
STANZA = "Types: deb\nURIs: {uri}\nSuites: trixie-pgdg\nComponents: main\n{more}"


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="asks apt, which is not here")
@pytest.mark.parametrize(
    ("name", "text", "known"),
    [
        ("pgdg.list", f"deb [arch=amd64] {PROJECT}/ trixie-pgdg main\n", True),
        ("pgdg.list", f"deb http://apt.postgresql.org/pub/repos/apt trixie-pgdg main 18  # ours\n{DEBIAN}", True),
        ("postgres.sources", f"{STANZA.format(uri=MIRROR, more='')}\n{STANZA.format(uri=PROJECT, more='')}", True),
        ("pgdg.sources", STANZA.format(uri=PROJECT, more="Enabled: yes\n"), True),
        ("pgdg.sources", STANZA.format(uri=PROJECT, more="Enabled: no\n"), False),
        ("pgdg.sources", STANZA.format(uri="https://mirror.example.com/pgdg", more=f"# {PROJECT}\n"), False),
        ("pgdg.list", f"# deb {PROJECT} trixie-pgdg main\n", False),
        ("pgdg.list", f"deb {PROJECT} bookworm-pgdg main\n# trixie-pgdg\n", False),
        ("pgdg.list", f"deb-src {PROJECT} trixie-pgdg main\n", False),
        ("pgdg.list.save", f"deb {PROJECT} trixie-pgdg main\n", False),
        ("pgquorum-pgdg.sources", STANZA.format(uri=PROJECT, more=""), False),
    ],
)
def test_a_source_counts_as_there_where_apt_reads_it_and_it_is_not_ours(
    tmp_path: Path, name: str, text: str, known: bool
) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(DEBIAN)
    (tmp_path / "sources.list.d" / name).write_text(text)
    survey = surveyed(tmp_path, cluster())
    assert survey.postgres_source == (f"{tmp_path}/sources.list.d/{name}" if known else "")
    assert survey.mirror == MIRROR


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="asks apt, which is not here")
@pytest.mark.parametrize("suites", [("trixie", "trixie-updates"), ("stable", "stable-updates"), ("trixie",)])
def test_a_mirror_of_debian_is_told_from_another_with_a_suite_of_its_name(tmp_path: Path, suites: tuple[str, ...]) -> None:
    (tmp_path / "sources.list.d").mkdir()
    first, last = ("azure", "debian") if len(suites) > 1 else ("vendor", "debian")
    (tmp_path / f"sources.list.d/{first}.list").write_text("deb https://vendor.example.com/repo trixie main\n")
    (tmp_path / f"sources.list.d/{last}.list").write_text("".join(f"deb {MIRROR} {suite} main\n" for suite in suites))
    assert surveyed(tmp_path, cluster()).mirror == MIRROR


@pytest.mark.skipif(shutil.which("apt-get") is None, reason="asks apt, which is not here")
def test_a_source_in_a_directory_is_known_however_its_url_is_written(tmp_path: Path) -> None:
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text("deb [trusted=yes] file:/srv/pgdg trixie-pgdg main\n")
    assert surveyed(tmp_path, cluster(postgres_source_url="file:///srv/pgdg/")).postgres_source == f"{tmp_path}/sources.list"


def test_what_a_host_says_of_its_sources() -> None:
    said = ["system debian", "codename trixie", "postgres_source /etc/apt/sources.list.d/pgdg.list", f"mirror {MIRROR}", "uid 0"]
    survey = parse_survey(said, 0)
    assert (survey.codename, survey.mirror) == ("trixie", MIRROR)
    assert survey.postgres_source == "/etc/apt/sources.list.d/pgdg.list"
    assert survey.release and survey.release.called == "Debian 13 (trixie)"
