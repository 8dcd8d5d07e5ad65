"""Rules of the kernel's packet filter that cut this host off from others: PostgreSQL from former primaries, until that is over
(`Fence`), and everything that would wait for a host that is gone, for a while (`Shun`).

No program's goodwill is needed for it, neither Patroni's nor PostgreSQL's. Both tables are apart from the cluster's own filter,
and each is made and removed as a whole.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterable, Sequence
from contextlib import suppress
from ipaddress import ip_address
from pathlib import Path

NFT, SS = "/usr/sbin/nft", "/usr/bin/ss"
SECONDS = 5.0


def table(name: str, addresses: Iterable[str], ports: Sequence[int]) -> str:
    """The text that makes a table anew in one step: TCP between this host and these ports there is refused, and what comes from
    them is dropped."""
    listed = ", ".join(map(str, ports))
    out, into = list[str](), ["iif lo accept"]  # what is refused here is told so from here, in the name of the other
    for address in addresses:
        kind = "ip" if ip_address(address).version == 4 else "ip6"
        out.append(f"{kind} daddr {address} tcp dport {{ {listed} }} reject with tcp reset")
        into.append(f"{kind} saddr {address} tcp sport {{ {listed} }} drop")
    chains = "".join(
        f"  chain {hook} {{\n    type filter hook {hook} priority -10; policy accept;\n"
        + "".join(f"    {rule}\n" for rule in rules) + "  }\n"
        for hook, rules in (("output", out), ("input", into))
    )  # fmt: skip
    return f"table inet {name}\ndelete table inet {name}\ntable inet {name} {{\n{chains}}}\n"


class Filter:
    """One table of the kernel's, called `name`."""

    def __init__(self, name: str) -> None:
        self._name = name

    def put(self, addresses: Sequence[str], ports: Sequence[int]) -> None:
        """From here on nothing passes; connections that are there end. Raises OSError."""
        _run(NFT, "-f", "-", stdin=table(self._name, addresses, ports))
        for address in addresses:
            # What waits for an answer would not notice. Where the kernel can't do that, it ends when it is next used.
            with suppress(OSError):
                where = address if ip_address(address).version == 4 else f"[{address}]"
                _run(SS, "--kill", "--tcp", "--no-header", "dst", where, f"( {' or '.join(f'dport = :{p}' for p in ports)} )")

    def remove(self) -> None:
        """Raises OSError."""
        if self.there():
            _run(NFT, "delete", "table", "inet", self._name)

    def there(self) -> bool:
        """Whether the kernel has it."""
        try:
            _run(NFT, "list", "table", "inet", self._name)
        except OSError:
            return False
        return True


class Kept:
    """A note in a `file` that outlives this host: what it says holds before anything may rely on it."""

    def __init__(self, file: Path) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Raises OSError."""
        new = self._file.with_suffix(".new")
        with new.open("w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        new.replace(self._file)
        directory = os.open(self._file.parent, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def there(self) -> bool:
        """Whether there is one."""
        return self._file.exists()

    def read(self) -> str:
        """Empty where there is none. Raises OSError, and ValueError for what is no text."""
        try:
            return self._file.read_text(encoding="utf-8")
        except FileNotFoundError:
            return ""

    def remove(self) -> None:
        """Raises OSError."""
        self._file.unlink(missing_ok=True)


def _run(*command: str, stdin: str = "") -> str:
    """Raises OSError with what the command says."""
    try:
        done = subprocess.run(command, input=stdin, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        raise OSError(f"{command[0]} does not come to an end") from None
    if done.returncode != 0:
        raise OSError(f"{command[0]}: {done.stderr.strip() or done.returncode}")
    return done.stdout
