"""SSH's own configuration, followed as ssh follows it; what can't be followed is refused by name."""

from __future__ import annotations

import getpass
import os
import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import paramiko

from cluster.errors import ClusterError

DEFAULT_KEYS = ("id_ed25519", "id_ecdsa", "id_rsa")
# paramiko takes a criterion that it does not know as one that is met.
CRITERIA = {"all", "canonical", "final", "host", "originalhost", "user", "localuser"}
WITHOUT_VALUE = {"all", "canonical", "final"}
DEEPEST_INCLUDE = 16  # as ssh has it


class ConfigurationError(ClusterError):
    """SSH's configuration can't be read, or says what can't be followed."""


@dataclass(frozen=True)
class Way:
    """What an inventory says of how to reach a host, under the names of its settings. None: as SSH's configuration has it."""

    ssh_hostname: str
    ssh_user: str | None = None
    ssh_port: int | None = None
    ssh_key: str | None = None
    ssh_config_file: str | None = None
    ssh_known_hosts_file: str | None = None
    jumps: tuple[str, ...] = ()  # hosts on the way, where it is itself one that others are reached through


@dataclass(frozen=True)
class Target:
    """Where to log in, as whom, with what, when the inventory and SSH's configuration have both been asked."""

    hostname: str
    port: int
    user: str
    keys: tuple[Path, ...]  # files, of which not all need be there
    only_these_keys: bool  # and not all others that the agent has
    agent: str | None  # its socket
    known_hosts: tuple[Path, ...]
    jumps: tuple[str, ...]
    proxy_command: str | None

    @property
    def where(self) -> str:
        return f"{self.hostname} port {self.port}"


def resolve(way: Way, environment: Mapping[str, str] = os.environ) -> Target:
    """The target of a way. Raises ConfigurationError."""
    said = _lookup(way)
    named = (way.ssh_key,) if way.ssh_key else said.get("identityfile", ())
    home = Path("~/.ssh").expanduser()
    try:
        port = way.ssh_port or int(said.get("port", 22))
    except ValueError:
        raise ConfigurationError(f"Port {said['port']} of {way.ssh_hostname} in {_told(way)} is no number") from None
    jumps = "none" if way.jumps else said.get("proxyjump") or "none"
    return Target(
        hostname=said.get("hostname", way.ssh_hostname),
        port=port,
        user=way.ssh_user or said.get("user") or getpass.getuser(),
        keys=tuple(Path(key).expanduser() for key in named) or tuple(home / name for name in DEFAULT_KEYS),
        only_these_keys=bool(way.ssh_key) or said.get("identitiesonly", "").lower() == "yes",
        agent=_agent(said.get("identityagent", "SSH_AUTH_SOCK"), environment),
        known_hosts=_known_hosts(way.ssh_known_hosts_file, said.get("userknownhostsfile")),
        jumps=way.jumps if jumps.lower() == "none" else tuple(jump.strip() for jump in jumps.split(",")),
        proxy_command=None if way.jumps else said.get("proxycommand"),
    )


def knows(host: str) -> bool:
    """Whether the operator's own SSH configuration says where a host is (HostName). Raises ConfigurationError."""
    return _lookup(Way(host)).get("hostname", host) != host


def hop(jumps: tuple[str, ...], way: Way) -> Way:
    """The way to the last host of ProxyJump, `[user@]host[:port]`: with the keys and known hosts of SSH's configuration."""
    *before, jump = jumps
    found = re.fullmatch(r"(?:ssh://)?(?:(.+)@)?(?:\[(.+)\]|([^:]+|.*:.*:.*?))(?::(\d+))?", jump)
    if not found:
        raise ConfigurationError(f"ProxyJump {jump} in {_told(way)}: should be [user@]host[:port]")
    user, address, host, port = found.groups()
    return Way(address or host, user, int(port) if port else None, ssh_config_file=way.ssh_config_file, jumps=tuple(before))


def _lookup(way: Way) -> dict[str, str]:
    try:
        return dict(_read(way).lookup(way.ssh_hostname))
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"SSH's configuration {_told(way)} can't be read ({error})") from None
    except (paramiko.SSHException, ValueError, KeyError) as error:
        raise ConfigurationError(f"SSH's configuration {_told(way)} can't be understood ({error})") from None


def _read(way: Way) -> paramiko.SSHConfig:
    """The file that is named, else the operator's own and the system's, where they are there."""
    home, system = Path("~/.ssh").expanduser(), Path("/etc/ssh")
    if way.ssh_config_file:
        lines = [*_lines(Path(way.ssh_config_file).expanduser(), home)]
    else:
        own = [*_lines(home / "config", home)] if (home / "config").exists() else []
        lines = [*own, "Host *", *(_lines(system / "ssh_config", system) if (system / "ssh_config").exists() else ())]
    return paramiko.SSHConfig.from_text("\n".join(lines))


def _told(way: Way) -> str:
    return f"{way.ssh_config_file} (ssh_config_file)" if way.ssh_config_file else "~/.ssh/config"


def _lines(file: Path, folder: Path, block: str = "Host *", depth: int = 0) -> Iterator[str]:
    """The lines of a file with those of included files in their places. `block` is the Host or Match line that holds there."""
    if depth > DEEPEST_INCLUDE:
        raise ConfigurationError(f"SSH's configuration includes {file} again and again")
    for raw in file.read_text().splitlines():
        line = raw.strip() if '"' in raw else re.sub(r"(^|\s)#.*", "", raw).strip()
        keyword, _, value = re.sub(r"\s*=\s*|\s+", " ", line, count=1).partition(" ")
        match keyword.lower():
            case "include":
                for pattern in shlex.split(value):
                    path = folder / Path(pattern).expanduser()  # an absolute one stays as it is
                    for included in sorted(Path("/").glob(str(path.relative_to("/")))):
                        yield from _lines(included, folder, block, depth + 1)
                        yield block
            case "match":
                _check_criteria(value, file)
                yield (block := line)
            case "host":
                yield (block := line)
            case _:
                yield line


def _check_criteria(value: str, file: Path) -> None:
    words = iter(shlex.split(value))
    for word in words:
        criterion = word.lstrip("!").partition("=")[0].lower()
        if criterion not in CRITERIA:
            raise ConfigurationError(
                f"`Match {criterion}` in {file} is not followed: name another file in ssh_config_file, without it"
            )
        if criterion not in WITHOUT_VALUE and "=" not in word:
            next(words, None)


def _agent(said: str, environment: Mapping[str, str]) -> str | None:
    """The socket that IdentityAgent means."""
    if said.lower() == "none":
        return None
    if said == "SSH_AUTH_SOCK":
        return environment.get("SSH_AUTH_SOCK") or None
    if said.startswith("$"):
        return environment.get(said[1:].strip("{}")) or None
    return str(Path(said.replace("%d", "~", 1) if said.startswith("%d") else said).expanduser())


def _known_hosts(setting: str | None, said: str | None) -> tuple[Path, ...]:
    return tuple(Path(name).expanduser() for name in ([setting] if setting else shlex.split(said or "~/.ssh/known_hosts")))
