"""Sources of packages: where and when a deploy adds them, and that it ends where one does not do."""

from __future__ import annotations

import hashlib

import pytest
from conftest import BLANK_HOST, DATABASES, PROXIES, SETTINGS, SURVEY, Answers, Rehearsal, Stage

from cluster.releases import RELEASES, Release

MIRROR = "http://mirror.example.com/debian/"
PROJECT, ETCD = ("/etc/apt/sources.list.d/pgquorum-pgdg.sources", "/etc/apt/sources.list.d/pgquorum-etcd.sources")
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nmade up\n"


def runs(host: str, codename: str, *more: str) -> Answers:
    """A blank host of another release."""
    of = next((one for one in RELEASES if one.codename == codename), None)
    said = {"codename": codename} | ({"system": of.system, "system_version": of.version} if of else {})
    lines = [f"{key} {said.get(key, value)}" for key, value in (line.split(" ") for line in BLANK_HOST)]
    return [(host, SURVEY, [*lines, *more])]


TRIXIE = runs("db2", "trixie", f"mirror {MIRROR}")


@pytest.fixture(scope="session")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Rehearsal:
    """A first deploy on hosts of which one runs Debian 13, the others Debian forky."""
    run = Stage(tmp_path_factory.mktemp("mixed")).rehearse("-y", answers=TRIXIE)
    assert "Traceback" not in run.output
    return run


def test_only_a_host_whose_release_lacks_something_gets_sources(mixed: Rehearsal) -> None:
    for file in (PROJECT, ETCD):
        assert {mixed.commands[n].host for n in mixed.executed(f"mktemp {file}")} == {DATABASES[1]}
    assert {mixed.commands[n].host for n in mixed.executed("update -o Dir::Etc::sourcelist")} == {DATABASES[1]}


def of_release(release: Release) -> str:
    return f"{release.system}-{release.version}"


@pytest.mark.parametrize("release", RELEASES, ids=of_release)
def test_each_release_gets_what_it_lacks_and_then_the_packages(stage: Stage, release: Release) -> None:
    """With the settings as they are shipped; but for Ubuntu, whose hosts know no mirror of Debian for etcd."""
    if release.system == "ubuntu":
        stage.write("group_data/all.py", f"{SETTINGS}etcd_source_url = {MIRROR!r}\n")
    run = stage.rehearse("-y", answers=runs(".", release.codename, *([f"mirror {MIRROR}"] if release.system == "debian" else [])))
    assert run.exit_code == 0, run.output
    assert "Traceback" not in run.output
    lacks = {PROJECT: release.postgres != 18 or "patroni" not in release.good, ETCD: "etcd" not in release.good}
    for file, needed in lacks.items():
        written = {run.commands[n].host: run.commands[n].stdin for n in run.executed(f"mktemp {file}")}
        assert written.keys() == (set(DATABASES) if needed else set())
        suite = f"{release.codename}-pgdg" if file == PROJECT else "forky"
        assert all(f"Suites: {suite}\n" in text for text in written.values())
    keys = {run.commands[n].command.partition("install ")[2].split(" ")[0] for n in run.executed("apt.postgresql.org.asc ] ||")}
    assert keys == ({release.key_package} if lacks[PROJECT] else set())
    assert bool(run.executed("mktemp /etc/sysusers.d/etcd-server.conf")) is (lacks[ETCD] and release.systemd < 257)
    for name in DATABASES:
        (installed,) = run.executed("install curl", name)
        assert all(f" {package} " in run.commands[installed].command for package in ("postgresql-18", "patroni", "etcd-server"))
        assert all(n < installed for n in run.executed("sourcelist=", name))
        assert len(run.executed("sourcelist=", name)) == sum(lacks.values())


def test_ubuntu_is_refused_with_the_remedy_where_no_mirror_of_debian_is_named(stage: Stage) -> None:
    ubuntu = [one for one in RELEASES if one.system == "ubuntu"]
    run = stage.rehearse("-y", answers=[runs(f"db{n}", one.codename)[0] for n, one in enumerate(ubuntu, 1)])
    assert run.exit_code != 0
    assert run.changed_nothing
    for name, release in zip(DATABASES, ubuntu, strict=True):
        assert f"host {name}: etcd of {release.called} is too old" in run.output
    assert "etcd_source_url = 'http://mirror.example.com/debian'" in run.output


def test_first_the_key_then_the_source_then_its_lists_then_the_packages(mixed: Rehearsal) -> None:
    places = [
        mixed.first("apt.postgresql.org.asc ] ||", "db2"),
        mixed.first(f"mktemp {PROJECT}", "db2"),
        mixed.first(f"sourcelist={PROJECT}", "db2"),
        mixed.first("install curl", "db2"),
    ]
    assert places == sorted(places)
    assert mixed.last("sourcelist=", "db2") < places[-1]


def test_what_is_added_is_said_before_it_is_done(stage: Stage) -> None:
    run = stage.rehearse("--dry", answers=TRIXIE)
    assert run.exit_code == 0, run.output
    assert run.changed_nothing
    assert f"repository (https://apt.postgresql.org/pub/repos/apt trixie-pgdg) is added on {DATABASES[1]}" in run.output
    assert f"Debian forky ({MIRROR} forky) is added on {DATABASES[1]}, for etcd alone" in run.output


def test_a_source_that_can_not_be_read_ends_the_deploy_before_a_package_is_installed(stage: Stage) -> None:
    run = stage.rehearse("-y", answers=[("db2", f"sourcelist={PROJECT}", None), *TRIXIE])
    assert run.exit_code != 0
    assert run.executed("install curl") == []
    assert "Traceback" not in run.output


def test_a_package_that_turns_out_too_old_ends_the_deploy(stage: Stage) -> None:
    old: Answers = [("db2", "dpkg-query", ["patroni 4.0.7-3 installed"], True)]
    run = stage.rehearse("-y", answers=[*old, ("db2", "^false$", None), *TRIXIE])
    assert run.exit_code != 0
    assert (
        f"patroni 4.0.7-3 on {DATABASES[1]} too old: should be at least etcd-server 3.5.28 or 3.6.9; patroni 4.1.3" in run.output
    )
    assert run.executed("mktemp /etc/etcd") == []


def test_what_a_source_had_of_a_release_that_nobody_has_tested_is_told(stage: Stage) -> None:
    newer: Answers = [("db2", "dpkg-query", ["etcd-server 3.7.1-1 installed", "patroni 4.1.5-1 installed"], True)]
    run = stage.rehearse("-y", answers=[*newer, *TRIXIE])
    assert run.exit_code == 0, run.output
    assert f"{DATABASES[1]}: etcd-server 3.7.1-1 was not tested with this tool: 3.5 were" in run.output
    assert "patroni 4.1.5-1 was not tested" not in run.output


def test_a_key_of_ones_own_is_laid_there_and_no_other_is_asked_for(stage: Stage) -> None:
    stage.write("mirror.asc", KEY)
    stage.write("group_data/all.py", SETTINGS + "postgres_source_key = 'mirror.asc'\netcd_source_key = 'mirror.asc'\n")
    run = stage.rehearse("-y", answers=TRIXIE)
    (laid,) = run.executed("mktemp /etc/apt/keyrings/pgquorum-pgdg.asc")
    assert run.commands[laid].stdin == KEY
    assert run.executed("apt.postgresql.org.asc ]") == []


def test_an_older_debian_gets_the_user_of_etcd_in_words_that_its_systemd_knows(stage: Stage) -> None:
    answers = runs("db2", "bookworm", f"mirror {MIRROR}")
    run = stage.rehearse("-y", answers=answers)
    (written,) = run.executed("mktemp /etc/sysusers.d/etcd-server.conf")
    assert run.commands[written].host == DATABASES[1]
    assert written < run.first("install curl", "db2")


def test_a_release_that_is_not_known_is_refused(stage: Stage) -> None:
    run = stage.rehearse("-y", answers=runs(PROXIES[0], "bullseye"))
    assert run.exit_code != 0
    assert run.changed_nothing
    assert f"host {PROXIES[0]}: runs debian 14 (bullseye): should be one of Debian 12 (bookworm)" in run.output


FILES = f"""
etcd_source = "files"
etcd_files = {{
    "etcd-server_3.5.30-2_amd64.deb": "{hashlib.sha256(b"etcd").hexdigest()}",
    "https://mirror.example.com/etcd-client_3.5.30-2_amd64.deb": "{"1" * 64}",
}}
"""


def test_packages_that_are_files_are_compared_on_the_host_before_they_are_installed(stage: Stage) -> None:
    stage.write("etcd-server_3.5.30-2_amd64.deb", "etcd")
    stage.write("group_data/all.py", SETTINGS + FILES)
    run = stage.rehearse("-y", answers=TRIXIE)
    assert run.exit_code == 0, run.output
    places = [
        run.first("sha256sum --check", "db2"),
        run.first("download-file https://mirror.example.com/etcd-client_3.5.30-2_amd64.deb", "db2"),
        run.first("/var/cache/pgquorum/etcd-server_3.5.30-2_amd64.deb /var/cache/pgquorum/etcd-client", "db2"),
        run.first("rm -rf /var/cache/pgquorum", "db2"),
    ]
    assert places == sorted(places)
    assert f"SHA256:{'1' * 64}" in run.commands[places[1]].command
    assert {run.commands[n].host for n in run.executed("download-file")} == set(DATABASES)
    assert run.executed(f"mktemp {ETCD}") == []


def test_a_file_that_is_another_ends_the_deploy_before_a_package_is_installed(stage: Stage) -> None:
    stage.write("etcd-server_3.5.30-2_amd64.deb", "etcd")
    stage.write("group_data/all.py", SETTINGS + FILES)
    run = stage.rehearse("-y", answers=[("db2", "download-file", None), *TRIXIE])
    assert run.exit_code != 0
    assert run.executed("install curl") == []
