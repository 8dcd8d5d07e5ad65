"""Whose a lab is, which labs are in the way of a new one, and clearing what nobody runs any more."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal

from lab import access, cgroup, disk, machine, making, network, state
from lab.command import LabError
from lab.spec import LabSpec
from lab.state import State


def load_own(lab: str, checkout: Path) -> State:
    """The state of a lab of this checkout. Raises LabError if there is none, or it is another checkout's."""
    found = state.load(lab)
    if found is None:
        raise LabError(f"there is no lab {lab}; `invoke lab.up` brings one up")
    if found.owner != checkout:
        raise LabError(f"lab {lab} belongs to {found.owner}: work on it from there, or bring up one of another name here")
    return found


def refuse_if_others(lab: str, checkout: Path) -> None:
    """Raise LabError if another checkout runs this lab."""
    found = state.load(lab)
    if found and found.owner != checkout and found.owner.is_dir() and running(lab):
        raise LabError(f"lab {lab} belongs to {found.owner} and is running: take it down from there")


def make_room(spec: LabSpec, checkout: Path, say: Callable[[str], None]) -> State | None:
    """Clear the stale labs that are in the way of this one; return its own state if it exists already.

    Raises LabError if a lab in the way is in use. The caller holds the locks of this lab and of the images.
    """
    for name in _present():
        found = state.load(name)
        in_use = name != spec.name and state.at_work(f"lab {name}")
        owner_there = found is not None and found.owner.is_dir()
        if judge(name, found, spec, checkout, in_use or running(name), owner_there=owner_there) == "clear":
            say(f"clearing what is left of lab {name}" + (f" of {found.owner}" if found else ""))
            clear(name, checkout if name == spec.name else None)
    return state.load(spec.name)


def judge(
    name: str, found: State | None, spec: LabSpec, checkout: Path, in_use: bool, *, owner_there: bool
) -> Literal["keep", "clear"]:
    """Decide about a lab of which something is there when `spec` is to come up for `checkout`.

    `found` is its state if that can be read, `in_use` whether any host of it has power or a command is at work on it,
    `owner_there` whether its checkout still exists. Raises LabError if it is in the way and in use.
    """
    same_name = name == spec.name
    if found is None:
        return "keep" if in_use and not same_name else "clear"
    if same_name and found.owner == checkout:
        return "keep"
    if not owner_there:
        return "clear"
    if not same_name and not found.spec.network.overlaps(spec.network):
        return "keep"
    if not in_use:
        return "clear"
    raise LabError(
        f"lab {name} ({found.spec.subnet}) of {found.owner} is running. Take it down from there, "
        "or choose another name and another subnet for this one, like lab2 and 10.77.5.0/24"
    )


def running(lab: str) -> bool:
    """Whether any host of a lab has power."""
    return cgroup.Cgroup(cgroup.base() / lab).populated()


def clear(lab: str, checkout: Path | None) -> None:
    """Remove everything of a lab, however much or little of it there is: hosts, network, mounts, disks, keys.

    `checkout` is one whose files for it go as well, besides its owner's.
    """
    found = state.load(lab)
    for host in _hosts(lab):
        machine.cut_power(lab, host)
    cgroup.Cgroup(cgroup.base() / lab).remove()
    network.remove_switch(lab)
    disk.unmount_all(lab)
    making.delete(state.directory(lab))
    for owner in (found.owner if found else None, checkout):
        if owner:
            shutil.rmtree(owner / access.folder(lab), ignore_errors=True)


def _present() -> list[str]:
    """Every lab of which this machine has anything."""
    switches = {name.removeprefix(network.PREFIX).partition("-")[0] for name in network.namespaces()}
    return sorted({*state.labs(), *switches, *_children(cgroup.base())})


def _hosts(lab: str) -> list[str]:
    wired = {name.removeprefix(network.switch(lab) + "-") for name in network.namespaces(lab)} - {network.switch(lab)}
    return sorted({*wired, *_children(cgroup.base() / lab), *_children(state.directory(lab) / "hosts")})


def _children(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir() if path.is_dir()] if folder.is_dir() else []
