"""Deploy and tasks reach the hosts in the same way: as SSH's configuration says where the inventory does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import invoke
from helpers import INVENTORY, Site
from hosts import SPEC

SUDOERS = "/etc/sudoers.d/ops"
MAKE = f"""
set -e
useradd --create-home --shell /bin/bash ops
install -d -o ops -g ops -m 700 /home/ops/.ssh
install -o ops -g ops -m 600 /root/.ssh/authorized_keys /home/ops/.ssh/
echo 'ops ALL=(ALL) NOPASSWD: ALL' >{SUDOERS}
"""


@pytest.fixture
def inventory(site: Site, tmp_path: Path) -> Iterator[str]:
    """One without ssh_user, whose SSH configuration logs in as `ops`, who may become root."""
    configuration = tmp_path / "ssh_config"
    configuration.write_text("Host *\n    User ops\n")
    file = site.folder / f".lab/{SPEC.name}/as_ops.py"
    text = (site.folder / INVENTORY).read_text()
    assert "'ssh_user': 'root'" in text
    file.write_text(text.replace("'ssh_user': 'root'", f"'ssh_config_file': '{configuration}'"))
    site.on_all(MAKE)
    yield str(file.relative_to(site.folder))
    site.on_all(f"rm -f {SUDOERS}; userdel --remove ops 2>/dev/null")
    file.unlink()


def test_the_user_of_ssh_s_configuration_deploys_and_looks(site: Site, inventory: str) -> None:
    assert site.changes(inventory=inventory) == 0
    code, out, err = invoke(site, "status", inventory=inventory)
    assert code == 0, out + err


def test_without_sudo_both_say_who_lacks_it(site: Site, inventory: str) -> None:
    site.on_all(f"rm {SUDOERS}")
    run = site.deploy("-y", inventory=inventory)
    assert run.exit_code != 0 and "has no sudo without a password" in run.output, run.output
    code, out, _ = invoke(site, "status", inventory=inventory)
    assert code == 1 and "ops has no sudo without a password" in out, out
    code, _, err = invoke(site, "switchover", "--yes", inventory=inventory)
    assert code == 2 and "could not be taken" in err and "sudo: a password is required" in err, err


def test_a_configuration_that_is_not_there_is_named(site: Site, inventory: str) -> None:
    file = site.folder / inventory
    file.write_text(file.read_text().replace("/ssh_config'", "/no_such_file'"))
    code, out, _ = invoke(site, "status", inventory=inventory)
    assert code == 1 and "no_such_file" in out, out
