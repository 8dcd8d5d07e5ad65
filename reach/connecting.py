"""Logs in to a host, through others where SSH's configuration says so, and says in one sentence why it could not."""

from __future__ import annotations

import logging
import shlex
from typing import Any

import paramiko
from paramiko.hostkeys import InvalidHostKey
from paramiko.ssh_exception import NoValidConnectionsError

from cluster.errors import ClusterError

from .configuration import ConfigurationError, Target, Way, hop, resolve
from .keys import InOrder, KeyProblem, Keyring, keyring
from .login_shell import for_any_shell

# What goes wrong is told in words; paramiko would also print tracebacks of its threads.
logging.getLogger("paramiko").setLevel(logging.CRITICAL)

# What paramiko raises where a connection can't be had, or is lost.
LOST = (OSError, EOFError, paramiko.SSHException)
Sock = paramiko.ProxyCommand | paramiko.Channel | None


class UnreachableError(ClusterError):
    """A host that can't be reached by SSH. The text says why, and where it can be mended, how."""


class Client(paramiko.SSHClient):
    """A connection to a host, and those that lead to it."""

    user: str
    through: Client | None = None  # paramiko closes a connection that nobody refers to
    _host_keys_filename: str  # paramiko's own

    @property
    def transport(self) -> paramiko.Transport:
        transport = self.get_transport()
        assert transport is not None, "connect() gives only what is open"
        return transport

    def exec_command(self, command: str, *more: Any, **options: Any) -> Any:
        """Runs a command as paramiko does, whatever the login shell is."""
        return super().exec_command(for_any_shell(command), *more, **options)

    def why_failed(self, command: str, seconds: int) -> str:
        """Runs a command; its last words where it has failed, nothing where it has succeeded. Raises UnreachableError."""
        try:
            _, stdout, stderr = self.exec_command(command, timeout=seconds)
            said = stderr.read().decode(errors="replace").strip()
            return (said.splitlines() or ["it failed"])[-1] if stdout.channel.recv_exit_status() else ""
        except LOST as error:
            raise UnreachableError(f"unreachable: {error or type(error).__name__}") from None

    def close(self) -> None:
        super().close()
        if self.through:
            self.through.close()


def connect(way: Way, seconds: int, policy: paramiko.MissingHostKeyPolicy | None = None) -> Client:
    """An open connection. `seconds` limits each step: TCP, SSH's banner, login. Raises UnreachableError.

    `policy` decides on a host that nothing is known of, which is refused without one.
    """
    try:
        return _connect(way, seconds, policy, frozenset())
    except (ConfigurationError, KeyProblem) as error:
        raise UnreachableError(f"unreachable: {error}") from None


def _connect(way: Way, seconds: int, policy: paramiko.MissingHostKeyPolicy | None, passed: frozenset[str]) -> Client:
    target = resolve(way)
    ring = keyring(way, target)
    client = Client()
    client.user = target.user
    try:
        _know_hosts(client, target, needed=bool(way.ssh_known_hosts_file and policy is None))
        client.set_missing_host_key_policy(policy or paramiko.RejectPolicy())
        # Where a policy adds what it accepts.
        client._host_keys_filename = str(target.known_hosts[0])
        client.connect(
            target.hostname,
            target.port,
            timeout=seconds,
            banner_timeout=seconds,
            auth_timeout=seconds,
            sock=_through(client, way, target, seconds, passed),
            auth_strategy=InOrder(target.user, ring),
        )
    except LOST as error:
        client.close()
        raise UnreachableError(f"unreachable: {_why(error, target, ring)}") from None
    if not client.transport.is_authenticated():
        client.close()
        raise UnreachableError(f"unreachable: {target.where} wants more than a key of {target.user!r}, which can't be given")
    return client


def _know_hosts(client: Client, target: Target, *, needed: bool) -> None:
    """Reads the host keys that are known. `needed`: whether the files have to be there."""
    for file in target.known_hosts:
        try:
            if needed or file.exists():
                client.load_host_keys(str(file))
        except FileNotFoundError:
            raise UnreachableError(f"unreachable: there is no file {file} (ssh_known_hosts_file)") from None
        except (OSError, ValueError, InvalidHostKey) as error:
            raise UnreachableError(f"unreachable: the known hosts {file} can't be read ({error})") from None


def _through(client: Client, way: Way, target: Target, seconds: int, passed: frozenset[str]) -> Sock:
    """What leads to the target where it is not reached directly."""
    if target.proxy_command:
        return paramiko.ProxyCommand(target.proxy_command)
    # A host that others are reached through may itself be among those the configuration's pattern means.
    jumps = tuple(jump for jump in target.jumps if way.jumps or jump not in passed)
    if not jumps:
        return None
    # Nobody decides on an unknown key here: it is another host than the one that is asked for.
    try:
        client.through = _connect(hop(jumps, way), seconds, None, passed | set(jumps))
    except (UnreachableError, KeyProblem) as error:
        why = str(error).removeprefix("unreachable: ")
        raise UnreachableError(f"unreachable: the way there is by {jumps[-1]} (ProxyJump): {why}") from None
    address = (target.hostname, target.port)
    return client.through.transport.open_channel("direct-tcpip", address, ("127.0.0.1", 0), timeout=seconds)


def _why(error: Exception, target: Target, ring: Keyring) -> str:
    """One sentence for what paramiko raised while connecting."""
    known = ", ".join(str(file) for file in target.known_hosts)
    match error:
        case paramiko.BadHostKeyException():
            return (
                f"{target.where} shows another host key than {known} has for it. If the host was reinstalled, take its"
                " old line out of that file; otherwise somebody may be in between"
            )
        case FileNotFoundError():
            return f"there is no {error.filename} (ProxyCommand)"
        case paramiko.AuthenticationException():
            return _refused(target, ring)
        case paramiko.SSHException() if "found in known_hosts" in str(error):
            unknown = f"the host key of {target.where} is not in {known}"
            if target.jumps or target.proxy_command:
                return f"{unknown}: log in to it once by `ssh`, and compare the key that it shows with what the host itself says"
            # What is compared is what is kept.
            keys = f"ssh-keyscan -t ed25519 -p {target.port} {target.hostname} > new-host-key"
            return (
                f"{unknown}: `{keys}; ssh-keygen -lf new-host-key`, compare that with what the host itself says (ssh-keygen -lf"
                f" /etc/ssh/ssh_host_ed25519_key.pub), then `cat new-host-key >> {shlex.quote(str(target.known_hosts[0]))}`"
            )
        case paramiko.ChannelException(code=1):  # as RFC 4254 numbers them
            return f"{target.jumps[-1]} lets nobody through to {target.where} (AllowTcpForwarding in its sshd's configuration)"
        case paramiko.SSHException() if isinstance(error, paramiko.ChannelException) or "opening channel" in str(error):
            # Of a connection that the host in between could not make, SSH does not say why.
            return f"{target.where} does not answer through {target.jumps[-1]}"
        case TimeoutError():
            return f"{target.where} does not answer"
        case NoValidConnectionsError():
            said = ", ".join({str(getattr(one, "strerror", one)) for one in error.errors.values()})
            return f"{target.where}: {said}"
        case _:
            return f"{target.where}: {getattr(error, 'strerror', None) or error or type(error).__name__}"


def _refused(target: Target, ring: Keyring) -> str:
    """What the host has refused, and the keys that could not be tried."""
    tried = f"any of {len(ring.keys)} keys" if len(ring.keys) > 3 else " or ".join(ring.keys)
    told = f"{target.where} refuses to log in {target.user!r} {f'with {tried}' if tried else 'without a key'} (ssh_user, ssh_key)"
    if ring.locked:
        locked = " ".join(str(path) for path in ring.locked)
        return f"{told}; {locked} has a passphrase, and {ring.silence or 'the ssh-agent has it not'}: ssh-add {locked}"
    return told if tried else f"{told}; {ring.silence or 'the ssh-agent has none'}"
