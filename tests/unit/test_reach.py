"""How hosts are reached: what SSH's configuration says, and with which keys; no host is asked."""

from __future__ import annotations

import base64
import socket
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import paramiko
import pytest
from cryptography.hazmat.primitives import serialization as s
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from operations import connections
from reach import connecting
from reach.configuration import ConfigurationError, Target, Way, hop, resolve
from reach.connecting import UnreachableError, connect
from reach.keys import KeyProblem, keyring


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The operator's ~/.ssh, with no agent."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    (tmp_path / ".ssh").mkdir()
    return tmp_path / ".ssh"


def key(file: Path, passphrase: bytes = b"", form: s.PrivateFormat = s.PrivateFormat.OpenSSH) -> bytes:
    """Makes a private key; its public half as an agent has it."""
    made = Ed25519PrivateKey.generate()
    lock = s.BestAvailableEncryption(passphrase) if passphrase else s.NoEncryption()
    file.write_bytes(made.private_bytes(s.Encoding.PEM, form, lock))
    text = made.public_key().public_bytes(s.Encoding.OpenSSH, s.PublicFormat.OpenSSH)
    file.with_suffix(".pub").write_bytes(text)
    return base64.b64decode(text.split()[1])


class FakeAgent(threading.Thread):
    """An ssh-agent that says which keys it has, and no more."""

    def __init__(self, path: Path, keys: list[bytes]) -> None:
        super().__init__(daemon=True)
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(path))
        self.listener.listen()
        listed = b"".join(struct.pack(">I", len(blob)) + blob + struct.pack(">I", 1) + b"k" for blob in keys)
        self.answer = b"\x0c" + struct.pack(">I", len(keys)) + listed
        self.start()

    def run(self) -> None:
        while True:
            try:
                one, _ = self.listener.accept()
            except OSError:
                return
            one.recv(5)
            one.sendall(struct.pack(">I", len(self.answer)) + self.answer)


@pytest.fixture
def agent(home: Path) -> Iterator[tuple[Path, bytes, bytes]]:
    """Its socket, and the public halves of two keys it has, of which the first is ~/.ssh/locked."""
    mine, other = key(home / "locked", b"a passphrase"), key(home / "other")
    running = FakeAgent(home / "agent", [other, mine])
    yield home / "agent", mine, other
    running.listener.shutdown(socket.SHUT_RDWR)
    running.listener.close()


def target(home: Path, configuration: str = "", way: Way | None = None) -> Target:
    (home / "config").write_text(configuration)
    return resolve(way or Way("db1"), {"SSH_AUTH_SOCK": "/its/agent"})


def test_without_a_configuration_it_is_what_ssh_itself_would_take(home: Path) -> None:
    found = target(home)
    assert (found.hostname, found.port, found.agent, found.jumps, found.proxy_command) == ("db1", 22, "/its/agent", (), None)
    assert (found.keys[0], found.known_hosts) == (home / "id_ed25519", (home / "known_hosts",))
    assert not found.only_these_keys


def test_what_the_configuration_says_is_followed(home: Path) -> None:
    found = target(
        home,
        "Host db*  # all of them\n  HostName %h.example\n  User ann\n  Port=2222\n  IdentityFile ~/.ssh/mine\n"
        "  IdentitiesOnly yes\n  IdentityAgent ~/.ssh/agent\n  ProxyJump ben@gate:23,inner\n  UserKnownHostsFile /a /b\n",
    )
    assert (found.hostname, found.port, found.user, found.keys) == ("db1.example", 2222, "ann", (home / "mine",))
    assert (found.only_these_keys, found.agent, found.jumps) == (True, str(home / "agent"), ("ben@gate:23", "inner"))
    assert found.known_hosts == (Path("/a"), Path("/b"))


def test_the_inventory_wins(home: Path) -> None:
    way = Way("db1", ssh_user="root", ssh_port=24, ssh_key="/k", ssh_known_hosts_file="/h")
    found = target(home, "User ann\nPort 2222\nIdentityFile ~/.ssh/mine\nUserKnownHostsFile /a", way)
    assert (found.user, found.port, found.keys, found.known_hosts) == ("root", 24, (Path("/k"),), (Path("/h"),))
    assert found.only_these_keys


@pytest.mark.parametrize(
    ("said", "socket_path"), [("none", None), ("SSH_AUTH_SOCK", "/its/agent"), ("$SSH_AUTH_SOCK", "/its/agent"), ("$NONE", None)]
)
def test_the_agent_that_is_meant(home: Path, said: str, socket_path: str | None) -> None:
    assert target(home, f"IdentityAgent {said}").agent == socket_path


def test_included_files_stand_where_they_are_named(home: Path) -> None:
    (home / "more").mkdir()
    (home / "more/1").write_text("User first\nHost db1\nPort 2221\n")
    (home / "more/2").write_text("Include again\n")
    (home / "again").write_text("Host db2\nPort 2222\n")
    text = "Host db9\n  Include more/*\n  Port 29\nHost *\n  Include more/*\n  User last\n"
    assert (target(home, text).user, target(home, text).port) == ("first", 2221)
    assert target(home, text, Way("db9")).port == 29
    assert target(home, text, Way("db2")).port == 2222


def test_a_hop_may_be_written_in_all_ways() -> None:
    assert hop(("gate",), Way("db1", ssh_config_file="c")) == Way("gate", ssh_config_file="c")
    assert hop(("ann@gate:23",), Way("db1")) == Way("gate", "ann", 23)
    assert hop(("a", "[fd00::1]:23"), Way("db1")) == Way("fd00::1", None, 23, jumps=("a",))
    assert hop(("fd00::1",), Way("db1")) == Way("fd00::1")


@pytest.mark.parametrize(
    ("configuration", "sentence"),
    [
        ('Match exec "test -e /x"\nUser a', "`Match exec` in .*/config is not followed: name another file in ssh_config_file"),
        ("Match host db1 !exec x\nUser a", "`Match exec`"),
        ("Match tagged x\nUser a", "`Match tagged`"),
        ("Include config", "includes .*/config again and again"),
        ("Port x", "Port x of db1 in ~/.ssh/config is no number"),
        ("!!", "~/.ssh/config can't be understood"),
        ("Match host", "can't be understood"),
    ],
)
def test_what_cant_be_followed_is_named(home: Path, configuration: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        target(home, configuration)


def test_a_configuration_that_is_not_there_is_named_with_its_setting(home: Path) -> None:
    with pytest.raises(UnreachableError, match=r"/none \(ssh_config_file\) can't be read"):
        connect(Way("db1", ssh_config_file="/none"), 1)


def test_a_match_without_programs_is_followed(home: Path) -> None:
    assert target(home, "Match host db1,db2 user not-me\n  Port 2222\nMatch all\n  Port 3333\n").port == 3333
    assert target(home, "User root\nMatch originalhost db1 user root\n  Port 2222\n").port == 2222


@pytest.mark.parametrize("form", [s.PrivateFormat.OpenSSH, s.PrivateFormat.PKCS8])
def test_a_key_with_a_passphrase_is_refused_without_an_agent(home: Path, form: s.PrivateFormat) -> None:
    key(home / "locked", b"a passphrase", form)
    way = Way("db1", ssh_key=str(home / "locked"))
    with pytest.raises(KeyProblem, match=r"locked \(ssh_key\) has a passphrase, .* there is no ssh-agent .*: ssh-add .*/locked"):
        keyring(way, resolve(way, {}))


def test_the_agent_unlocks_the_key_that_is_named_and_no_other(home: Path, agent: tuple[Path, bytes, bytes]) -> None:
    path, mine, _ = agent
    (home / "locked.pub").unlink()  # its public half is in the private one, too
    way = Way("db1", ssh_key=str(home / "locked"))
    ring = keyring(way, resolve(way, {"SSH_AUTH_SOCK": str(path)}))
    assert [key.asbytes() for key in ring.keys.values()] == [mine]
    key(home / "stranger", b"a passphrase")
    way = Way("db1", ssh_key=str(home / "stranger"))
    with pytest.raises(KeyProblem, match="and the ssh-agent has it not: ssh-add"):
        keyring(way, resolve(way, {"SSH_AUTH_SOCK": str(path)}))


def test_without_ssh_key_all_are_tried_each_once(home: Path, agent: tuple[Path, bytes, bytes]) -> None:
    path, mine, other = agent
    found = target(home, f"IdentityAgent {path}\nIdentityFile ~/.ssh/locked\nIdentityFile ~/.ssh/none\n")
    assert [key.asbytes() for key in keyring(Way("db1"), found).keys.values()] == [mine, other]
    found = target(home, "IdentityAgent none\nIdentityFile ~/.ssh/locked\nIdentityFile ~/.ssh/other\n")
    ring = keyring(Way("db1"), found)
    assert [key.asbytes() for key in ring.keys.values()] == [other]
    assert ring.locked == (home / "locked",)
    found = target(home, f"IdentityAgent {path}\nIdentityFile ~/.ssh/other.pub\nIdentitiesOnly yes\n")
    assert [key.asbytes() for key in keyring(Way("db1"), found).keys.values()] == [other]


def test_a_key_that_is_none_is_named(home: Path) -> None:
    (home / "text").write_text("no key")
    key(home / "mine")
    for name, sentence in (("text", "is no private key"), ("none", "there is no file"), ("mine.pub", "is no private key")):
        way = Way("db1", ssh_key=str(home / name))
        with pytest.raises(KeyProblem, match=sentence):
            keyring(way, resolve(way, {}))
    way = Way("db1", ssh_key=str(home))
    with pytest.raises(KeyProblem, match="can't be read: Is a directory"):
        keyring(way, resolve(way, {}))


def test_an_agent_that_does_not_answer_is_told(home: Path) -> None:
    key(home / "locked", b"a passphrase")
    way = Way("db1", ssh_key=str(home / "locked"))
    with pytest.raises(KeyProblem, match="the ssh-agent at /none does not answer"):
        keyring(way, resolve(way, {"SSH_AUTH_SOCK": "/none"}))


def test_known_hosts_that_are_none_are_named(home: Path) -> None:
    with pytest.raises(UnreachableError, match=r"there is no file /none \(ssh_known_hosts_file\)"):
        connect(Way("db1", ssh_known_hosts_file="/none"), 1)
    (home / "known_hosts").write_text("db1 ssh-ed25519 abc\n")
    with pytest.raises(UnreachableError, match=r"known hosts .*known_hosts can't be read"):
        connect(Way("db1"), 1)


def test_a_host_that_is_not_there(home: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(UnreachableError, match=f"unreachable: 127.0.0.1 port {port}: "):
        connect(Way("127.0.0.1", ssh_port=port), 1)


@pytest.mark.parametrize(
    ("raised", "told"),
    [
        (paramiko.ChannelException(2, "Connect failed"), "10.0.0.3 port 22 does not answer through db2"),
        (paramiko.SSHException("Timeout opening channel."), "10.0.0.3 port 22 does not answer through db2"),
        (
            paramiko.ChannelException(1, "Administratively prohibited"),
            "db2 lets nobody through to 10.0.0.3 port 22 (AllowTcpForwarding in its sshd's configuration)",
        ),
        (UnreachableError("unreachable: 10.0.0.2 port 22 does not answer"), "WAY: 10.0.0.2 port 22 does not answer"),
        (KeyProblem("/k has a passphrase"), "WAY: /k has a passphrase"),
    ],
)
def test_a_host_behind_another_one(home: Path, raised: Exception, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is told names the host in between: as the one that failed, or that could not get through."""

    def open_channel(*asked: object, **more: object) -> None:
        raise raised

    real = connecting._connect

    def between(way: Way, *more: Any) -> Any:
        if way.ssh_hostname != "db2":
            return real(way, *more)
        if isinstance(raised, paramiko.SSHException):
            return SimpleNamespace(transport=SimpleNamespace(open_channel=open_channel), close=lambda: None)
        raise raised

    monkeypatch.setattr(connecting, "_connect", between)
    (home / "config").write_text("Host db3\n  HostName 10.0.0.3\n  ProxyJump db2\n")
    with pytest.raises(UnreachableError) as refused:
        connect(Way("db3"), 1)
    assert str(refused.value) == f"unreachable: {told.replace('WAY', 'the way there is by db2 (ProxyJump)')}"


@pytest.mark.parametrize(("given", "kind"), [(None, "StrictPolicy"), ("yes", "StrictPolicy"), ("accept-new", "AcceptNewPolicy")])
def test_a_deploy_takes_an_unknown_host_key_only_where_the_inventory_says_so(
    given: str | None, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    policies: list[object] = []
    monkeypatch.setattr("operations.connections.connect", lambda way, seconds, policy: policies.append(policy))
    data = {"ssh_strict_host_key_checking": given} if given else {}
    connector = SimpleNamespace(
        data=defaultdict(lambda: None), host=SimpleNamespace(name="db1", data=data),
        state=SimpleNamespace(config=SimpleNamespace(CONNECT_TIMEOUT=1)),
    )  # fmt: skip
    connections._client(connector)
    assert [type(policy).__name__ for policy in policies] == [kind]
