"""`python3 -I DIRECTORY PROGRAM SPECIFICATION ...`: starts one of the programs with what the deploy wrote about the cluster."""

from __future__ import annotations

import sys

from agents import confirm_quorum, promotion_gate
from agents.specification import Specification


def salvage(specification: Specification) -> int:
    """With arguments of its own."""
    from agents import salvage  # here alone: the gate must start quickly

    return salvage.main(specification, sys.argv[3:])


PROGRAMS = {"confirm-quorum": confirm_quorum.main, "promotion-gate": promotion_gate.main, "salvage": salvage}

if __name__ == "__main__":
    program, file, *_ = sys.argv[1:]
    sys.exit(PROGRAMS[program](Specification.read(file)))
