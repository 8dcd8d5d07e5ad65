"""Sources of packages: where and when a deploy adds them, and that it ends where one does not do."""

from __future__ import annotations

import hashlib

import pytest
from conftest import BLANK_HOST, DATABASES, PROXIES, SETTINGS, SURVEY, Answers, Rehearsal, Stage

MIRROR = "http://mirror.example.com/debian/"
PROJECT, ETCD = ("/etc/apt/sources.list.d/pgquorum-pgdg.sources", "/etc/apt/sources.list.d/pgquorum-etcd.sources")
KEY = "-----BEGIN PGP PUBLIC KEY BLOCK-----\nmade up\n"


def runs(host: str, codename: str, *more: str) -> Answers:
    """A blank host of another release."""
    lines = [f"codename {codename}" if line.startswith("codename ") else line for line in BLANK_HOST]
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
