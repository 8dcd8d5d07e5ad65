"""A lab as a whole: up, down, status, and the switches of its hosts."""

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path

from lab import access, disk, host_packages, image, machine, network, ownership, recipe, state
from lab.command import LabError
from lab.machine import PowerCut
from lab.spec import Kind, LabHost, LabSpec, refuse_unlike
from lab.state import State, locked

# Seconds from power-on until sshd answers. Two seconds are usual.
BOOT_DEADLINE = 30.0


@dataclass(frozen=True)
class HostStatus:
    """One host as it is now: whether it has power, with it a cable that is not cut, and with both an sshd that answers."""

    name: str
    address: str
    kind: Kind
    power: bool
    cable: bool
    ssh: bool


class Lab:
    """One lab of one checkout.

    `spec` says what it is, `checkout` whose `.lab/` gets the files to reach it; `say` gets one line per thing done.
    Every method may raise LabError, and all but ssh_command need root.
    """

    def __init__(self, spec: LabSpec, checkout: Path, say: Callable[[str], None] = print) -> None:
        self.spec = spec
        self.checkout = checkout.resolve()
        self.say = say

    @classmethod
    def load(cls, name: str, checkout: Path, say: Callable[[str], None] = print) -> "Lab":
        """Open a lab of this checkout that exists, as it was last brought up."""
        return cls(ownership.load_own(name, checkout.resolve()).spec, checkout, say)

    def up(self) -> None:
        """Bring all hosts up, whatever state the lab is in; return when sshd answers on all of them.

        A host that is off is powered on, a cut cable is mended, hosts that `spec` has more than the lab are added.
        """
        _require_root()
        began = time.monotonic()
        host_packages.ensure(self.say)
        with self._lock():
            with locked("the images", self.say):
                claimed = self._claim()
            for suite, name in claimed.images.items():  # takes minutes where one is built: other labs go on meanwhile
                image.ensure(name, suite, self.spec, self.say)
            network.install_switch(self.spec)
            self._prepare_disks(claimed)
            deadline = time.monotonic() + BOOT_DEADLINE
            for host in self.spec.hosts:
                self._start(host, claimed)
            for host in self.spec.hosts:
                machine.wait_for_ssh(self.spec.name, host, deadline)
        self.say(f"lab {self.spec.name}: {len(self.spec.hosts)} hosts up in {time.monotonic() - began:.1f} s")

    def down(self) -> None:
        """Remove the lab with its disks and keys, and whatever a half-finished up or down has left of it."""
        _require_root()
        with self._lock():
            ownership.refuse_if_others(self.spec.name, self.checkout)
            ownership.clear(self.spec.name, self.checkout)
        self.say(f"lab {self.spec.name} is down")

    def status(self) -> tuple[HostStatus, ...]:
        """All hosts as they are now: observed, not remembered."""
        _require_root()
        return tuple(self._look(host) for host in self._mine().spec.hosts)

    def off(self, host: str) -> PowerCut:
        """Cut a host's power; return when everything in it is dead. Its disk stays."""
        with self._switching(host):
            if not machine.is_on(self.spec.name, host):
                self.say(f"{host} is off already")
            return machine.cut_power(self.spec.name, host)

    def on(self, host: str, *, wait: bool = True) -> None:
        """Power a host on, with its cable plugged in. With `wait`, return when its sshd answers (30 s at most)."""
        with self._switching(host) as found:
            network.guard(found.spec)  # both are gone if the machine was booted since
            network.install_switch(found.spec)
            self._start(found.spec.host(host), found)
        if wait:
            machine.wait_for_ssh(self.spec.name, found.spec.host(host), time.monotonic() + BOOT_DEADLINE)

    def cut(self, host: str) -> None:
        """Cut a host's network cable; the host stays on."""
        with self._switching(host):
            self._require_power(host)
            network.disconnect(self.spec.name, host)

    def heal(self, host: str) -> None:
        """Mend a host's network cable."""
        with self._switching(host):
            self._require_power(host)
            network.connect(self.spec.name, host)

    def ssh_command(self, host: str) -> list[str]:
        """The command that opens a session on a host; append a command to run it there."""
        self._mine().spec.host(host)
        return ["ssh", "-F", str(self.checkout / access.folder(self.spec.name) / "ssh_config"), host]

    def run(self, host: str, *argv: str, input: str | None = None, timeout: float = 60) -> subprocess.CompletedProcess[str]:
        """Run a command as root inside a host, whether its cable is cut or not; a failure of it is an answer.

        `input` is its standard input, `timeout` seconds. LabError if the host is off or the time is up.
        """
        _require_root()
        self._mine().spec.host(host)
        return machine.run_inside(self.spec.name, host, argv, input, timeout)

    def _claim(self) -> State:
        """Make name and subnet this checkout's, and keep the images that it will lie over.

        The caller holds the locks of the lab and of the images.
        """
        old = ownership.make_room(self.spec, self.checkout, self.say)
        network.refuse_overlap(self.spec, network.routes(self.spec))
        network.guard(self.spec)  # before anything that takes time
        latest = {suite: recipe.image_name(suite, self.spec.mirror) for suite in self.spec.suites}
        if old:
            refuse_unlike(old.spec, self.spec)
            for suite, name in old.images.items():
                if name != latest[suite]:
                    self.say(f"lab {self.spec.name} keeps its image {name}; `invoke lab.down`, then up, for {latest[suite]}")
        # A disk is a layer over one image and no other: an existing lab keeps its own.
        claimed = State(self.spec, self.checkout, old.images if old else latest)
        claimed.save()
        in_use = {name for found in map(state.load, state.labs()) if found for name in found.images.values()}
        for suite in self.spec.suites:
            image.remove_outdated(suite, in_use | {latest[suite]}, self.say)
        return claimed

    def _prepare_disks(self, claimed: State) -> None:
        key = access.client_key(self.spec.name).with_suffix(".pub").read_text()
        for host in self.spec.hosts:
            if not disk.exists(self.spec.name, host.name):
                machine.cut_power(self.spec.name, host.name)
                disk.create(self.spec.name, host.name, with_wal=host.kind == "database")
            disk.mount(self.spec.name, host.name, image.path(claimed.images[host.suite]))
            disk.introduce(self.spec, host.name, key)
        access.write(self.spec, self.checkout)

    def _start(self, host: LabHost, claimed: State) -> None:
        """See to it that a host has power and a whole cable. `claimed` has the image that its disk lies over."""
        if not machine.is_on(self.spec.name, host.name):
            self.say(f"{host.name} ({host.address}): power on")
            machine.power_on(self.spec, host, image.path(claimed.images[host.suite]))
        elif not network.connected(self.spec.name, host.name):
            self.say(f"{host.name} ({host.address}): mending its cable")
            network.plug_in(self.spec, host)

    def _look(self, host: LabHost) -> HostStatus:
        power = machine.is_on(self.spec.name, host.name)
        cable = power and network.connected(self.spec.name, host.name)
        return HostStatus(host.name, host.address, host.kind, power, cable, cable and machine.ssh_answers(host))

    def _mine(self) -> State:
        return ownership.load_own(self.spec.name, self.checkout)

    def _lock(self) -> AbstractContextManager[None]:
        return locked(f"lab {self.spec.name}", self.say)

    @contextmanager
    def _switching(self, host: str) -> Iterator[State]:
        """The lab while one switch of a host is used: up, this checkout's, and nobody else at work on it."""
        _require_root()
        with self._lock():
            found = self._mine()
            found.spec.host(host)
            yield found

    def _require_power(self, host: str) -> None:
        if not machine.is_on(self.spec.name, host):
            raise LabError(f"{host} is off, so there is nothing to do at its cable; `invoke lab.on {host}` boots it")


def _require_root() -> None:
    if os.geteuid():
        raise LabError("a lab needs root, for its machines, mounts and networks: run the same command with sudo")
