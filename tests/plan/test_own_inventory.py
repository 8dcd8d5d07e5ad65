"""What `invoke init` makes is what pyinfra deploys: to its hosts, with its settings, its secrets beside it."""

from __future__ import annotations

import pytest
from conftest import DATABASES, GIVEN, HOSTS, NO_DATABASES, PROXIES, Stage
from repository import ship

from cluster.inventory_files import load_cluster
from cluster.vault import Vault
from day2.commands.begin.init import init

FILE = "inventories/shop/inventory.py"


@pytest.fixture
def own(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> Stage:
    """A checkout as it is shipped, with a cluster of its owner's beside the lab's."""
    ship(stage.folder / "shipped")
    for name in ("inventory.py", *(f"group_data/{group}.py" for group in ("all", "etcd", "postgres", "haproxy", "backup"))):
        (stage.folder / "shipped" / name).replace(stage.folder / name)
    monkeypatch.chdir(stage.folder)
    hosts = {
        option: [f"{name}={HOSTS[name]}" for name in names] for option, names in (("database", DATABASES), ("proxy", PROXIES))
    }
    assert init("shop", **hosts, etcd=[], clients=["10.0.0.0/24"], operators=[], user=[]) == 0
    secrets = stage.folder / "inventories/shop/secrets/shop/@fake"  # the connector's name is a part of the hosts' names here
    secrets.mkdir(parents=True)
    for directory in (secrets, secrets.parent):
        directory.chmod(0o700)
    return stage


def test_a_deploy_goes_to_its_hosts_and_keeps_its_secrets_beside_it(own: Stage) -> None:
    primary = [("db1", "dathasloginevt", [NO_DATABASES]), ("db1", "/config --fail", ["{}"])]
    own.settings = {"postgres_parameters": load_cluster("shop").postgres.parameters}
    run = own.rehearse("-y", answers=primary, inventory=FILE)
    assert run.exit_code == 0, run.output
    assert "verified: @fake/db1 leads" in run.output
    assert {command.host for command in run.commands} == set(HOSTS)
    assert Vault(load_cluster("shop"), GIVEN).directory.resolve() == own.folder / "inventories/shop/secrets/shop"
    assert (own.folder / "inventories/shop/secrets/shop/passwords.json").is_file()
    assert not [path for path in (own.folder / "secrets").rglob("*") if path.is_file()]


@pytest.mark.parametrize("said", ["shop", "inventories/shop"])
def test_pyinfra_takes_a_path_and_is_told_it(own: Stage, said: str) -> None:
    run = own.rehearse("-y", inventory=said)
    assert run.exit_code != 0 and run.commands == []
    assert f"inventory = {said!r}: there is no such file; the file is {FILE}" in run.output
    assert "Traceback" not in run.output
