"""What a lab is, and the decisions about it that need no machine."""

import json
from pathlib import Path

import pytest
from repository import ship

from day2.commands.lab import kept
from lab import Addresses, LabError, LabSpec, access, cgroup, disk, host_packages, network, packages, recipe, state
from lab.spec import LabHost, refuse_unlike
from lab.state import State

HERE, ELSEWHERE = Path("/here"), Path("/elsewhere")


@pytest.mark.parametrize(("subnet", "more"), [("10.77.9.0/24", {}), ("10.5.0.0/24", {"client_networks": ["10.5.0.0/24"]})])
def test_the_clients_of_a_lab_elsewhere_are_let_in(subnet: str, more: dict[str, object]) -> None:
    """As pyinfra reads a file of settings."""
    settings: dict[str, object] = {}
    exec(access.group_data(LabSpec(name="shop", subnet=subnet)), settings)
    ours = {name: settings[name] for name in settings if not name.startswith("__")}
    assert ours == {"cluster_name": "shop", **more}


def test_the_lab_knows_which_clients_the_settings_let_in_as_they_are_shipped(tmp_path: Path) -> None:
    settings: dict[str, object] = {}
    exec((ship(tmp_path) / "group_data/all.py").read_text(), settings)
    assert settings["client_networks"] == [access.SHIPPED_NETWORK]


def test_default_hosts() -> None:
    assert [(host.name, host.address, host.kind) for host in LabSpec().hosts] == [
        ("pg-sv01", "10.77.0.11", "database"),
        ("pg-sv02", "10.77.0.12", "database"),
        ("pg-sv03", "10.77.0.13", "database"),
        ("pg-haproxy", "10.77.0.21", "proxy"),
    ]


def test_as_many_hosts_as_there_can_be_have_addresses_of_their_own_within_the_smallest_subnet() -> None:
    spec = LabSpec(subnet="192.168.5.32/27", databases=10, proxies=10)
    assert [host.name for host in spec.hosts][9:12] == ["pg-sv10", "pg-haproxy", "pg-haproxy2"]
    addresses = {host.address for host in spec.hosts} | {gateway.partition("/")[0] for gateway in spec.gateways}
    assert len(addresses) == 21
    usable = {str(address) for address in spec.network.hosts()}
    assert addresses <= usable


def test_every_interface_name_fits_into_15_characters() -> None:
    spec = LabSpec(name="a" * 11, proxies=10)
    assert len(network.switch(spec.name)) <= 15
    assert all(len(host.name) <= 15 for host in spec.hosts)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "my-lab"),
        ("name", "a" * 12),
        ("name", ""),
        ("name", "../x"),
        ("subnet", "10.77.0.1/24"),
        ("subnet", "8.8.8.0/24"),
        ("subnet", "127.0.0.0/24"),
        ("subnet", "10.77.0.0/28"),
        ("subnet", "10.0.0.0/8"),
        ("subnet", "fd00::/64"),
        ("subnet", "office"),
        ("suite", "Forky; rm"),
        ("suite", ""),
        ("databases", 0),
        ("databases", 11),
        ("databases", "3"),
        ("proxies", -1),
        ("proxies", 11),
    ],
)
def test_a_wrong_value_is_refused_with_field_and_value(field: str, value: object) -> None:
    with pytest.raises(LabError, match=f"lab {field} {value!r} is not usable: give ".replace("/", r"\/")):
        LabSpec(**{field: value})  # type: ignore[arg-type]


def test_an_unknown_host_gets_the_nearest_name() -> None:
    with pytest.raises(LabError, match=r"lab demo has no host 'pg-sv1'; did you mean pg-sv01\?"):
        LabSpec().host("pg-sv1")
    with pytest.raises(LabError, match=r"its hosts: pg-sv01, pg-sv02, pg-sv03, pg-haproxy"):
        LabSpec().host("zzz")


def test_a_lab_may_grow_but_not_shrink_or_change() -> None:
    refuse_unlike(LabSpec(), LabSpec(databases=5, proxies=2))
    with pytest.raises(LabError, match=r"lab demo has 3 databases; for only 2, `invoke lab.down` first"):
        refuse_unlike(LabSpec(), LabSpec(databases=2))
    with pytest.raises(LabError, match=r"lab demo has suite forky, not trixie"):
        refuse_unlike(LabSpec(), LabSpec(suite="trixie"))


def test_hosts_of_a_kind_take_the_releases_of_a_mixed_lab_in_turn() -> None:
    mixed = LabSpec(suite="forky,trixie", proxies=2)
    assert mixed.suites == ("forky", "trixie")
    assert [host.suite for host in mixed.hosts] == ["forky", "trixie", "forky", "forky", "trixie"]


def test_a_lab_of_the_version_before_is_known_with_its_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its image must not be removed while it runs."""
    monkeypatch.setattr(state, "LABS", tmp_path)
    (tmp_path / "demo").mkdir()
    old = {"spec": {"name": "demo", "suite": "forky"}, "owner": "/home/ann/pgquorum", "image": "forky-1"}
    (tmp_path / "demo/state.json").write_text(json.dumps(old))
    found = state.load("demo")
    assert found and found.images == {"forky": "forky-1"}


def test_hosts_of_a_stable_release_find_packages_where_their_image_has_them() -> None:
    assert "source" not in access.etcd_data(LabSpec()) + access.postgres_data(LabSpec(), with_wal=True)
    for suite in ("trixie", "forky,trixie"):
        spec = LabSpec(suite=suite)
        assert "postgres_source_url = 'file:///srv/lab/pgdg'" in access.postgres_data(spec, with_wal=True)
        assert "etcd_source_key = '.lab/demo/packages.asc'" in access.etcd_data(spec)


def test_packages_are_named_after_all_that_decides_what_is_in_them(monkeypatch: pytest.MonkeyPatch) -> None:
    assert packages.name("forky") is None
    name = packages.name("trixie")
    assert name and name.startswith("packages-trixie-")
    image = recipe.image_name("trixie")
    monkeypatch.setattr(packages, "TOOLS", packages.TOOLS + ",less")
    assert packages.name("trixie") != name
    assert recipe.image_name("trixie") != image  # which has them in it


def test_the_image_is_named_after_all_that_decides_what_is_in_it(monkeypatch: pytest.MonkeyPatch) -> None:
    name = recipe.image_name("forky")
    assert name.startswith("forky-")
    assert recipe.image_name("trixie") != name
    assert recipe.image_name("forky", "file:///srv/mirror") != name
    monkeypatch.setattr(recipe, "BASE_PACKAGES", (*recipe.BASE_PACKAGES, "less"))
    assert recipe.image_name("forky") != name


def test_only_missing_packages_are_installed() -> None:
    known = "mmdebstrap installed\niproute2 config-files\n"
    assert host_packages.missing(known, ["iproute2", "mmdebstrap", "systemd-container"]) == [
        "iproute2",
        "systemd-container",
    ]


def test_cgroup_v2_is_found_wherever_it_is_mounted() -> None:
    hybrid = (
        "24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n"
        "25 24 0:23 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
        "26 24 0:24 / /sys/fs/cgroup/unified rw shared:4 - cgroup2 cgroup2 rw\n"
    )
    assert cgroup.mount_point(hybrid) == Path("/sys/fs/cgroup/unified")
    with pytest.raises(LabError, match=r"no cgroup v2 is mounted"):
        cgroup.mount_point("24 1 0:22 / /sys/fs/cgroup rw - tmpfs tmpfs rw\n")


def test_the_inventory_has_the_groups_of_the_deploy() -> None:
    groups: dict[str, list[tuple[str, dict[str, str]]]] = {}
    exec(access.inventory(LabSpec(databases=2)), groups)
    assert [name for name, _ in groups["etcd"]] == ["pg-sv01", "pg-sv02"]
    assert groups["postgres"] == groups["etcd"]
    assert groups["haproxy"] == [
        (
            "pg-haproxy",
            {
                "ssh_hostname": "10.77.0.21",
                "address": "10.77.0.21",
                "ssh_user": "root",
                "ssh_key": ".lab/demo/id_ed25519",
                "ssh_known_hosts_file": ".lab/demo/known_hosts",
                "power_off": "invoke lab.off pg-haproxy --name demo",
                "power_on": "invoke lab.on pg-haproxy --name demo",
            },
        )
    ]


def test_the_log_goes_to_the_disk_of_its_own_where_there_is_one() -> None:
    settings: dict[str, object] = {}
    exec(access.postgres_data(LabSpec(), with_wal=True), settings)
    assert settings["postgres_wal_directory"] == f"{disk.WAL_MOUNT}/pgquorum"  # the mount point itself has a lost+found
    assert "postgres_wal_directory" not in access.postgres_data(LabSpec(), with_wal=False)


def test_the_disk_of_the_log_stays_with_the_hosts_other_disk(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "LABS", tmp_path)
    assert disk.wal("demo", "pg-sv01").parent == disk.root("demo", "pg-sv01").parent
    assert not disk.has_wal("demo", "pg-sv01")


def test_host_keys_are_pinned_by_name_and_address() -> None:
    host = LabHost("pg-sv01", "10.77.0.11", "database")
    assert access.known_hosts({host: "ssh-ed25519 AAAA"}) == "pg-sv01,10.77.0.11 ssh-ed25519 AAAA\n"


@pytest.mark.parametrize(
    ("addresses", "of_the_first", "gateways"),
    [
        ("ipv4", ("10.77.31.11",), ("10.77.31.1/24",)),
        ("ipv6", ("fd0a:4d1f::11",), ("fd0a:4d1f::1/64",)),
        ("dual", ("10.77.31.11", "fd0a:4d1f::11"), ("10.77.31.1/24", "fd0a:4d1f::1/64")),
    ],
)
def test_hosts_have_the_addresses_that_were_asked_for(
    addresses: Addresses, of_the_first: tuple[str, ...], gateways: tuple[str, ...]
) -> None:
    spec = LabSpec(subnet="10.77.31.0/24", addresses=addresses)
    assert spec.hosts[0].addresses == of_the_first and spec.hosts[0].address == of_the_first[0]
    assert spec.gateways == gateways
    assert all(network.is_private for network in spec.networks)


def test_a_lab_keeps_its_kind_of_addresses() -> None:
    with pytest.raises(LabError, match="has addresses ipv4, not ipv6: `invoke lab"):
        refuse_unlike(LabSpec(), LabSpec(addresses="ipv6"))


def test_a_lab_that_is_brought_up_again_is_what_it_was(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "LABS", tmp_path)
    State(LabSpec(name="shop", suite="trixie", addresses="dual"), HERE, {"trixie": "trixie-1"}).save()
    found = [kept(name, checkout) for name, checkout in (("shop", HERE), ("shop", ELSEWHERE), ("other", HERE))]
    assert [(one.suite, one.addresses) for one in found] == [("trixie", "dual"), ("forky", "ipv4"), ("forky", "ipv4")]


def test_a_host_for_backups_is_there_when_it_is_asked_for_and_in_a_group_of_its_own() -> None:
    spec = LabSpec(subnet="10.77.31.0/24", backup=True)
    assert [(host.name, host.address, host.kind) for host in spec.hosts][-1] == ("pg-backup", "10.77.31.31", "backup")
    assert "backup = [" in access.inventory(spec) and "backup" not in access.inventory(LabSpec())
    with pytest.raises(LabError, match="lab backup True is not usable: give a subnet of /26 or larger with it"):
        LabSpec(subnet="10.77.31.0/27", backup=True)
    with pytest.raises(LabError, match="has a host for backups"):
        refuse_unlike(spec, LabSpec(subnet="10.77.31.0/24"))
    refuse_unlike(LabSpec(subnet="10.77.31.0/24"), spec)


def test_a_lab_with_a_host_for_backups_is_one_for_a_checkout_that_knows_none(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """It would take away the image of a lab that it can't read."""
    monkeypatch.setattr(state, "LABS", tmp_path)
    State(LabSpec(backup=True), HERE, {"forky": "forky-1"}).save()
    assert "backup" not in json.loads((tmp_path / "demo/state.json").read_text())["spec"]
    found = state.load("demo")
    assert found and found.spec.backup and found.images == {"forky": "forky-1"}
