"""Deploy and tasks reach the hosts in the same way: as SSH's configuration says where the inventory does not."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from commands import invoke
from helpers import ENVIRONMENT, INVENTORY, Site, refused
from hosts import ADDRESS, DATABASES, HOSTS, PATIENCE, PROXY, SPEC, wait_until

SUDOERS = "/etc/sudoers.d/ops"
KEYGEN = ["ssh-keygen", "-q", "-t", "ed25519", "-N"]
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


@pytest.mark.long
@pytest.mark.parametrize("shell", ["fish", "tcsh"])
def test_so_do_the_tasks_where_the_users_login_shell_is_another(site: Site, inventory: str, shell: str) -> None:
    site.on_all(f"apt-get -q install --yes --no-download {shell} && usermod --shell $(command -v {shell}) ops")
    try:
        assert shell in site.on(PROXY, "runuser -l ops -c 'echo $0; status fish-path' 2>&1; getent passwd ops")
        wanted = site.replicas()[0]
        for words in (
            ["status"],
            ["verify"],
            ["verify", "--from", DATABASES[1]],
            ["logs", "--since", "1 min ago"],
            ["switchover", "--yes", "--to", wanted],
            ["psql", "-c", "select current_user"],
        ):
            code, out, err = invoke(site, *words, inventory=inventory)
            assert code == 0, f"{words}: {out}{err}"
        assert site.leader() == wanted
        wait_until(site.healthy, "the former primary streams")
        assert site.changes(inventory=inventory) == 0
    finally:
        site.on_all(f"usermod --shell /bin/bash ops; apt-get -q purge --yes --auto-remove {shell}")


def test_so_does_an_operator_who_is_not_root_on_this_machine(site: Site, inventory: str) -> None:
    """In a checkout of their own, with their own home. What they have of root is to read Python wherever that is."""
    home = Path(tempfile.mkdtemp(prefix="pgquorum-operator-", dir="/var/tmp"))
    reads = ("--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search")
    mine = ("--reuid=65534", "--regid=65534", "--clear-groups", *reads)

    def run(program: str, *words: str) -> str:
        done = subprocess.run(
            ["setpriv", *mine, str(Path(sys.executable).with_name(program)), *words], cwd=home / "checkout", text=True,
            env=os.environ | ENVIRONMENT | {"HOME": str(home), "INVOKE_INVENTORY": inventory},
            stdin=subprocess.DEVNULL, capture_output=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    try:
        shutil.copytree(site.folder, home / "checkout")
        configuration = re.findall("'ssh_config_file': '([^']*)'", (site.folder / inventory).read_text())[0]
        shutil.copy2(configuration, home)
        file = home / "checkout" / inventory
        file.write_text(file.read_text().replace(configuration, str(home / "ssh_config")))
        subprocess.run(["chown", "-R", "65534:65534", home], check=True)
        assert "nothing was changed: all is as the settings say" in run("pyinfra", inventory, "deploy.py", "-y")
        assert SPEC.name in run("invoke", "status")
        run("invoke", "verify")
        run("invoke", "psql", "-c", "select 1")
    finally:
        shutil.rmtree(home)


def test_without_sudo_both_say_who_lacks_it(site: Site, inventory: str) -> None:
    site.on_all(f"rm {SUDOERS}")
    refused(site.deploy("-y", inventory=inventory), "has no sudo without a password")
    code, out, _ = invoke(site, "status", inventory=inventory)
    assert code == 1 and "ops has no sudo without a password" in out, out
    code, _, err = invoke(site, "switchover", "--yes", inventory=inventory)
    assert code == 2 and "ops has no sudo without a password: put `ops ALL=(ALL) NOPASSWD: ALL` into" in err, err
    site.on_all(f"echo 'Defaults:ops requiretty' >{SUDOERS}; echo 'ops ALL=(ALL) NOPASSWD: ALL' >>{SUDOERS}")
    both_say(site, inventory, "sudo wants a terminal of ops, and there is none: put `Defaults:ops !requiretty` into")


def both_say(site: Site, inventory: str, sentence: str) -> None:
    """That a deploy, a rehearsal of it and a task refuse with the same words."""
    for option in ("-y", "--dry"):
        refused(site.deploy(option, inventory=inventory), sentence)
    code, out, err = invoke(site, "status", inventory=inventory)
    assert code == 1 and sentence in out, out + err


def another(site: Site, inventory: str, old: str, new: str) -> None:
    file = site.folder / inventory
    text = file.read_text()
    assert old in text
    file.write_text(text.replace(old, new))


def test_a_configuration_that_is_not_there_is_named(site: Site, inventory: str) -> None:
    another(site, inventory, "/ssh_config'", "/no_such_file'")
    both_say(site, inventory, "no_such_file (ssh_config_file) can't be read")


def test_a_key_that_cant_be_used_is_named(site: Site, inventory: str, tmp_path: Path) -> None:
    key = f".lab/{SPEC.name}/id_ed25519"
    another(site, inventory, key, f"{tmp_path}/key")
    both_say(site, inventory, f"there is no file {tmp_path}/key (ssh_key)")
    (tmp_path / "key").write_text("no key")
    both_say(site, inventory, f"{tmp_path}/key (ssh_key) is no private key that can be used")
    (tmp_path / "key").unlink()
    subprocess.run([*KEYGEN, "", "-f", tmp_path / "key"], check=True)
    both_say(site, inventory, f"port 22 refuses to log in 'ops' with {tmp_path}/key (ssh_user, ssh_key)")


def test_a_host_key_that_is_unknown_or_another_one(site: Site, inventory: str, tmp_path: Path) -> None:
    known = site.folder / f".lab/{SPEC.name}/known_hosts"
    another(site, inventory, f".lab/{SPEC.name}/known_hosts", f"{tmp_path}/known_hosts")
    (tmp_path / "known_hosts").write_text("")
    both_say(site, inventory, f"port 22 is not in {tmp_path}/known_hosts: `ssh-keyscan -t ed25519 -p 22 ")
    lines = [line.split(" ", 1) for line in known.read_text().splitlines()]
    others = [f"{names} {key}\n" for (names, _), (_, key) in zip(lines, lines[1:] + lines[:1], strict=True)]
    (tmp_path / "known_hosts").write_text("".join(others))
    both_say(site, inventory, f"port 22 shows another host key than {tmp_path}/known_hosts has for it")


def test_the_two_commands_that_a_refusal_names_make_a_host_known(site: Site, inventory: str, tmp_path: Path) -> None:
    """As they are printed, in a shell; what the first shows is what the host itself says of its key."""
    another(site, inventory, f".lab/{SPEC.name}/known_hosts", f"{tmp_path}/known_hosts")
    (tmp_path / "known_hosts").write_text("")
    said = site.deploy("-y", inventory=inventory).last_words
    named = dict.fromkeys(re.findall(r"`(ssh-keyscan [^`]+)`, compare that [^`]+, then `(cat [^`]+)`", said))
    assert len(named) == len(HOSTS), said
    for show, keep in named:
        (host,) = (name for name in HOSTS if f" {ADDRESS[name]} " in show)
        shown = subprocess.run(show, shell=True, cwd=tmp_path, stdout=subprocess.PIPE, text=True, check=True).stdout
        assert shown.split()[1] == site.on(host, "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub").split()[1]
        subprocess.run(keep, shell=True, cwd=tmp_path, check=True)
    assert site.changes(inventory=inventory) == 0
    code, out, err = invoke(site, "status", inventory=inventory)
    assert code == 0, out + err


@pytest.fixture
def agent(tmp_path: Path) -> Iterator[Path]:
    """The socket of an ssh-agent that has no key yet."""
    running = subprocess.Popen(["ssh-agent", "-D", "-a", tmp_path / "agent"], stdout=subprocess.DEVNULL)
    wait_until((tmp_path / "agent").exists, "the agent runs")
    yield tmp_path / "agent"
    running.terminate()
    running.wait()


def test_a_key_with_a_passphrase_is_the_agent_s_through_another_host(
    site: Site, inventory: str, agent: Path, tmp_path: Path
) -> None:
    """With all else in an included file: whose key, which agent, and that one host leads to the others."""
    subprocess.run([*KEYGEN, "its passphrase", "-f", tmp_path / "key"], check=True)
    public = (tmp_path / "key.pub").read_text().strip()
    site.on_all(f"echo '{public}' >>/home/ops/.ssh/authorized_keys")
    known = f".lab/{SPEC.name}/known_hosts"
    another(site, inventory, f"'ssh_key': '.lab/{SPEC.name}/id_ed25519', 'ssh_known_hosts_file': '{known}', ", "")
    (tmp_path / "included").write_text(
        f"User ops\nIdentityFile {tmp_path}/key\nUserKnownHostsFile {site.folder}/{known}\nIdentityAgent {agent}\n"
        f"Match !host {ADDRESS[PROXY]}\n    ProxyJump {ADDRESS[PROXY]}\n"
    )
    (tmp_path / "ssh_config").write_text(f"Include {tmp_path}/includ*\n")
    both_say(site, inventory, f"has a passphrase, and the ssh-agent has it not: ssh-add {tmp_path}/key")
    (tmp_path / "ask").write_text("#!/bin/sh\necho its passphrase\n")
    (tmp_path / "ask").chmod(0o700)
    asking = {"SSH_AUTH_SOCK": str(agent), "SSH_ASKPASS": str(tmp_path / "ask"), "SSH_ASKPASS_REQUIRE": "force"}
    subprocess.run(["ssh-add", "-q", tmp_path / "key"], env=os.environ | asking, check=True)
    assert site.changes(inventory=inventory) == 0
    code, out, err = invoke(site, "status", inventory=inventory)
    assert code == 0, out + err
    (tmp_path / "included").write_text("Match exec true\nUser ops\n")
    both_say(site, inventory, f"`Match exec` in {tmp_path}/included is not followed")
