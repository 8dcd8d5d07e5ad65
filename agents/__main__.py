"""`python3 -I -S DIRECTORY PROGRAM SPECIFICATION ...`: starts one of the programs with what the deploy wrote."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from agents.specification import Specification


def program(name: str) -> Callable[[Specification], int]:
    """The main function of one of them. Only that one is imported: the gate must start quickly."""
    if name == "promotion-gate":
        from agents import promotion_gate

        return promotion_gate.main
    if name == "confirm-quorum":
        from agents import confirm_quorum

        return confirm_quorum.main
    if name == "salvage":
        from agents import salvage

        return lambda specification: salvage.main(specification, sys.argv[3:])
    if name == "make-replica":
        from agents import replica

        return lambda specification: replica.main(specification, sys.argv[3:])
    if name == "hold-replay":
        from agents import held_replay

        return lambda specification: held_replay.main(specification, sys.argv[3:])
    if name == "wake-patroni":
        from agents import wake_patroni

        return lambda specification: wake_patroni.main(specification, Path(sys.argv[3]))
    if name == "guard":
        from agents import guard

        return guard.main
    names = "promotion-gate, confirm-quorum, salvage, make-replica, hold-replay, wake-patroni or guard"
    raise ValueError(f"{name}: should be {names}")


def main(name: str, file: str) -> int:
    """Runs a program with its file. Some have one of their own: they run where there is no member of the cluster."""
    if name == "one-primary":
        from agents import one_primary

        return one_primary.main(one_primary.Proxy.read(file))
    if name == "drill":
        from agents import drill, drill_files

        return drill.main(drill_files.Plan.read(file))
    if name == "clone":
        from agents import clone, drill_files

        return clone.main(drill_files.Plan.read(file))
    return program(name)(Specification.read(file))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2]))
