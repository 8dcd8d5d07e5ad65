"""What the deploy writes, read by the programs of each release of Debian that hosts may run; and what is said of these releases,
by the package lists that they came with."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from release_root import UNPACK, Root
from repository import ROOT, ship

from cluster import paths
from cluster.components import APART_TIMER, COMPONENTS
from cluster.inventory_files import load_cluster
from cluster.releases import RELEASES, Release
from cluster.survey import HostSurvey
from cluster.vault import Vault
from health.preflight import too_old
from lab import LabSpec, host_packages, image, recipe
from operations import etcd, haproxy, keepalived, patroni, pgbouncer

DEBIAN = {one.codename: one for one in RELEASES if one.system == "debian"}
# Of these a lab of `make test` is made in any case. To build the image of another takes longer than all tests here.
BUILT = ("trixie", "forky")
UNITS = (*(unit for one in COMPONENTS for unit in (*one.units, *one.beside)), APART_TIMER)
# The one that the proxy host has, there.
INTERFACE = "ens3"
# What an older systemd says that it does not know, and goes on: there a program is started again every 100 ms for ever.
SINCE = {"RestartSteps": 254, "RestartMaxDelaySec": 254}


@pytest.fixture(scope="module", params=DEBIAN)
def release(request: pytest.FixtureRequest, root: None) -> Release:
    return DEBIAN[request.param]


@pytest.fixture(scope="module")
def there(release: Release, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Root]:
    """The programs of a release, and on one host the files of all components."""
    suite = release.codename
    name = recipe.image_name(suite)
    if suite in BUILT:
        host_packages.ensure(print)
        image.ensure(name, suite, LabSpec(suite=suite), print)
    elif not image.path(name).is_dir():
        how = f"no image of it is here, `invoke lab.up --suite {suite}` makes one"
        pytest.skip(f"NOT TESTED WITH THE PROGRAMS OF {release.called}: {how}")
    made = Root(image.path(name), tmp_path_factory.mktemp(suite))
    made.said(UNPACK)  # first: packages bring files of the same names
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ship(tmp_path_factory.mktemp("shipped")))
        with Path("inventory.py").open("a") as inventory:
            inventory.write('haproxy.append(_lab("pg-haproxy2", "10.77.0.22"))\n')
        of = load_cluster(overrides={"pooling": True, "proxy_address": "10.77.0.50"})
        vault = Vault(of, {})
        (proxy, *_), (database, *_) = of.haproxy_hosts, of.postgres_hosts
        surveys = {proxy.name: HostSurvey(networks=((INTERFACE, f"{proxy.address}/24"),))}
        for part, host in ((etcd, database), (patroni, database), (haproxy, proxy), (pgbouncer, proxy), (keepalived, proxy)):
            run = SimpleNamespace(cluster=of, vault=vault, host=host, surveys=surveys, log_directories=("/srv/log",))
            made.write(part.files(run))
    return made


def test_systemd_finds_nothing_wrong_with_a_unit(there: Root, release: Release) -> None:
    done = there.run(f"systemd-analyze verify --man=no {' '.join(UNITS)}")
    unknown = [f"Unknown key '{name}'" for name, version in SINCE.items() if release.systemd < version]
    ours = [line for line in done.stdout.splitlines() if any(unit in line for unit in UNITS)]
    assert [line for line in ours if not any(text in line for text in unknown)] == []
    assert done.returncode == 0, done.stdout


def test_haproxy_finds_nothing_wrong_with_its_files(there: Root) -> None:
    said = there.said(
        f"cp {paths.HAPROXY_DOWN} {paths.HAPROXY_STATES}; haproxy -c -f {paths.HAPROXY_USERS} -f {paths.HAPROXY_CONFIG}"
    )
    assert [line for line in said.splitlines() if "WARNING" in line and "changed from server-state" not in line] == []


def test_keepalived_finds_nothing_wrong_with_its_files(there: Root) -> None:
    card = f"ip link add {INTERFACE} type veth peer name far; ip address add 10.77.0.21/24 dev {INTERFACE}"
    card += f"; ip link set {INTERFACE} up; ip link set far up"
    assert there.said(f"{card}; keepalived --config-test --use-file={paths.KEEPALIVED_CONFIG}") == ""
    wrong = there.run(f"{card}; sed s/nopreempt/nopreemt/ {paths.KEEPALIVED_CONFIG} >/srv/k; keepalived -t --use-file=/srv/k")
    assert wrong.returncode != 0 and "nopreemt" in wrong.stdout


def test_patroni_finds_nothing_wrong_with_its_files(there: Root) -> None:
    """But that no etcd answers, which it asks."""
    said = there.run(f"patroni --validate-config --ignore-listen-port {paths.PATRONI_CONFIG}").stdout
    assert [line for line in said.splitlines() if not re.match(r"etcd3\.hosts\.\d .* is not reachable$", line)] == []
    assert "etcd3.hosts.0" in said


def test_python_reads_all_programs_of_ours(there: Root) -> None:
    """Without a warning, and with what they import."""
    (there.folder / "upper/srv/sent").mkdir(parents=True, exist_ok=True)
    for file in (ROOT / "agents/sent").glob("[a-z]*.py"):
        (there.folder / "upper/srv/sent" / file.name).write_text(file.read_text())
    program = "import pathlib, sys; [compile(pathlib.Path(name).read_text(), name, 'exec') for name in sys.argv[1:]]"
    assert there.said(f'python3 -I -S -W error -c "{program}" {paths.AGENTS}/*/*.py {paths.AGENTS}/*.py /srv/sent/*.py') == ""
    imported = "; ".join(f"import agents.{file.stem}" for file in (ROOT / "agents").glob("[a-z]*.py"))
    assert there.said(f"cd {paths.AGENTS}; python3 -S -W error -c '{imported}'") == ""


def test_what_is_said_of_a_release_is_so(there: Root, release: Release) -> None:
    assert int(there.said("systemctl --version").split()[1]) >= release.systemd  # of one in development it grows
    names = [name for one in COMPONENTS for name in one.packages_for(release.postgres)]
    listed = there.said(f"apt-cache policy postgresql {release.key_package} {' '.join(names)}")
    has = dict(re.findall(r"(?m)^(\S+):\n.*\n  Candidate: (\S+)", listed))
    assert {name for name in (*names, release.key_package) if has.get(name, "(none)") == "(none)"} == set()
    assert has["postgresql"].partition("+")[0] == str(release.postgres)
    for one in COMPONENTS:
        first = one.packages_for(release.postgres)[0]
        if one.name != "postgres":
            assert (one.name in release.good) == (not too_old(one.packages[0], has[first])), (first, has[first])
