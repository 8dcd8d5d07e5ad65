"""One lab and one deployed cluster for all tests of this folder, which go from harmless to destructive by file name."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from clients import Writers
from helpers import Deploy, Site, copy_checkout
from hosts import DATABASES, ETCD_FROM_FILES, KEPT, LABS, ODD_ONE, POSTGRES, RESOLVING, SPEC, reserved

from lab import Lab, packages, state

# One of the labs has hosts as people have them, for whatever is tested there: a proxy for the world outside, which is dead, a
# umask that keeps everything from others, a small /tmp from which nothing runs, a locale that is not installed; the host's own
# name on 127.0.1.1, as Debian's installer writes it; and where data comes to lie a user `postgres` who was there before, who is
# no system user and may not log in, PostgreSQL's directory as a link to another disk, etcd's as a mount point. One of them asks
# systemd-resolved for names.
AS_PEOPLE_HAVE_THEM = r"""
set -e
for name in {http,https}_proxy {HTTP,HTTPS,ALL}_PROXY; do echo "$name=http://192.0.2.1:3128" >>/etc/environment; done
echo 'session optional pam_umask.so umask=0077' >>/etc/pam.d/sshd
echo 'LANG=de_DE.UTF-8' >/etc/default/locale
echo 'tmpfs /tmp tmpfs noexec,nosuid,nodev,size=16m 0 0' >>/etc/fstab
systemctl daemon-reload
mount /tmp
echo "127.0.1.1 $(hostname)" >>/etc/hosts
"""
WHERE_DATA_LIES = r"""
set -e
groupadd --gid 1500 postgres
useradd --uid 1500 --gid 1500 --create-home --home-dir /home/postgres --shell /usr/sbin/nologin postgres
mkdir -p /srv/postgresql /srv/etcd/lost+found /var/lib/etcd
ln -s /srv/postgresql /var/lib/postgresql
echo '/srv/etcd /var/lib/etcd none bind 0 0' >>/etc/fstab
systemctl daemon-reload
mount /var/lib/etcd
"""
RESOLVED = r"""
set -e
systemctl unmask systemd-resolved
DEBIAN_FRONTEND=noninteractive apt-get -q install --yes --no-download systemd-resolved libnss-resolve
systemctl is-active systemd-resolved
"""


def write_settings(site: Site, group: str, settings: str) -> None:
    """Once, at the end of the copy's own settings of a group of hosts: those in `.lab/` are written anew by each `lab.up`."""
    file = site.folder / f"group_data/{group}.py"
    if settings not in file.read_text():
        file.write_text(f"{file.read_text()}\n{settings}\n")


def take_etcd_from_files(site: Site) -> None:
    """Etcd's two packages by their SHA-256: one is copied to the hosts, the other fetched by them."""
    made = packages.path(SPEC.suites[0])
    assert made
    client, server = sorted((made / "debian/pool").glob("etcd-*.deb"))
    (site.folder / server.name).write_bytes(server.read_bytes())
    sums = {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in (server, client)}
    named = {server.name: sums[server.name], f"file://{packages.ON_HOST}/debian/pool/{client.name}": sums[client.name]}
    write_settings(site, "etcd", f"etcd_source = 'files'\netcd_files = {named!r}")


@pytest.fixture(scope="session")
def root() -> None:
    """Real hosts need root. Where CI runs, that they can't be had is a failure."""
    if os.geteuid() != 0:
        say = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        say("NOT TESTED ON REAL HOSTS: a lab needs root; run `sudo make test`")


@pytest.fixture(scope="session")
def kept(request: pytest.FixtureRequest) -> Path | None:
    """Where the lab that is kept is deployed from; None if none is kept."""
    return KEPT if request.config.getoption("keep_lab") else None


@pytest.fixture(scope="session")
def alone(root: None, kept: Path | None) -> Iterator[None]:
    """No other run of these tests is at work with this lab."""
    for other in LABS:
        if other != SPEC:
            with reserved(other):
                pass
    with reserved(SPEC, seconds=60, keep=kept) as mine:
        if not mine:
            pytest.fail("another run of these tests is at work on this machine")
        yield


@pytest.fixture(scope="session")
def whole_lab(alone: None, kept: Path | None, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """The lab, up and blank, with a copy of the checkout; taken down after, unless it is to be kept."""
    folder = copy_checkout(kept or tmp_path_factory.mktemp("checkout"))
    lab = Lab(SPEC, folder)
    try:
        site = Site(lab, folder)
        site.up()
        # What listens behind the packet filter is tested from here, too.
        here = [gateway.partition("/")[0] for gateway in SPEC.gateways]
        also = dict.fromkeys(("etcd_client_port", "etcd_peer_port", "patroni_port"), here)
        write_settings(site, "all", f"firewall = True\nfirewall_also = {also!r}")
        if ETCD_FROM_FILES:
            take_etcd_from_files(site)
        if POSTGRES != 18:
            write_settings(site, "postgres", f"postgres_version = {POSTGRES}")
        if SPEC == ODD_ONE and not site.secrets.exists():
            site.on_all(AS_PEOPLE_HAVE_THEM)
            for host in DATABASES:
                site.on(host, WHERE_DATA_LIES)
            site.on(RESOLVING, RESOLVED)
        yield site
    finally:
        if not kept:
            lab.down()


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item, nextitem: pytest.Item | None) -> None:
    """A lab that no later test of this process is about takes a part of the machine from the others': it goes at once."""
    here = Path(__file__).parent
    if nextitem is None or nextitem.path.parent == here or item.config.getoption("keep_lab"):
        return
    if item.path.parent == here and (up := state.load(SPEC.name)):
        Lab(up.spec, up.owner).down()


@pytest.fixture
def blank(whole_lab: Site) -> Site:
    """The lab before anything was deployed to it."""
    if whole_lab.secrets.exists():
        pytest.fail("this test is for blank hosts, but they were deployed to: run the files of this folder in their order")
    return whole_lab


@pytest.fixture(scope="session")
def first_deploy(whole_lab: Site) -> Deploy:
    """The first deploy, with all that pyinfra can be made to say about it."""
    return whole_lab.deploy("-y", "-vvv", "--diff")


@pytest.fixture(scope="module")
def site(whole_lab: Site, first_deploy: Deploy) -> Site:
    """The deployed cluster, whole when a file of tests begins."""
    assert first_deploy.exit_code == 0, first_deploy.output[-3000:]
    whole_lab.heal()
    return whole_lab


@pytest.fixture
def healed(site: Site) -> None:
    """For tests that break something: the cluster is whole when each of them begins, whatever the one before has left."""
    site.heal()


@pytest.fixture
def at_work(site: Site) -> Iterator[Writers]:
    """Clients that write all the while, none of whom notices anything, and whose rows are there in the end."""
    with Writers(site) as writers:
        yield writers
    assert writers.failures == [] and writers.lost() == set()


@pytest.fixture(scope="module")
def joined(site: Site) -> Site:
    """The cluster with the host for backups, which has joined while it lived."""
    before = site.postmasters()
    if not site.keeps_backups:
        site.psql(site.leader(), "create table if not exists kept (n int)")
        site.lab.up()  # its inventory has the host
    site.deployed()
    assert site.postmasters() == before
    return site
