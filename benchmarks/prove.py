"""`make prove`: the model of a failover at random, the tests that `make test` has no time for, with those of their files, then
every fault there is, on a lab of its own, with a report in proof/.

REPEAT=N in the environment says how many times each (3 without). SOAK=MINUTES and SEED=N run the model and a soak instead.
"""

from __future__ import annotations

import os
import sys

from . import rig

# So many times what `make test` does of the model, each run another.
TIMES = "30"
# Where the tests marked as long are. Each stands on what those before it have left on the hosts.
NAMES = (
    "50_changes 51_later 53_resolved 54_firewall 56_ssh 57_pooling 58_planned 59_entry 59_upgrades 60_refusals 69_smoke"
    " 73_guards 74_durability 75_day2 77_from 77_logical_slots 78_proof 79_lagging 90_replaced_hosts 91_backups 91_no_hole"
    " 91_stuck 92_restore 93_drill 94_authorities 94_repositories 94_upgraded_backups 96_guests"
)
LONG = [f"tests/lab/test_{name}.py" for name in NAMES.split()]


def main() -> None:
    if code := rig.watched("pytest", "-q", "tests/unit/test_protocol_machine.py", PROTOCOL_TIMES=TIMES):
        sys.exit(code)
    soak, seed = os.environ.get("SOAK"), os.environ.get("SEED")
    if not soak and (code := rig.watched("pytest", "--long", *LONG)):
        sys.exit(code)
    what = ["--fault", "all", "--repeat", os.environ.get("REPEAT", "3")]
    if soak:
        what = ["--soak", soak, "--lagging", *(["--seed", seed] if seed else [])]
    with rig.blank_lab():
        rig.deploy()
        code = rig.watched("invoke", "failover-test", *what, "--report", "proof", "--yes")
    sys.exit(code)
