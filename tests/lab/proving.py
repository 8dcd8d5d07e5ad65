"""Failover tests and switchovers as a person would run them, and what every trial has to keep."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from commands import invoke
from helpers import Site

# Consistent, whatever the fault: what no reader may see and no table may hold.
NOTHING = {"lost", "unexpected", "duplicated", "out_of_order"}
# Enough to lose something, and they leave the machine to what is tested.
FEW_WRITERS = ("--writers", "3", "--rate", "20")
# How long writes may stop, `make prove` says, on a machine that does nothing else; here they may for so much longer (seconds).
BUSY_SECONDS = 60
LATE = "writes stopped for"


def run(site: Site, *words: str, folder: Path | None = None, load: tuple[str, ...] = FEW_WRITERS) -> dict[str, Any]:
    """The report of a failover test that came to its end, good or bad; also written into `folder`."""
    options = ["--yes", "--json", *load, *(["--report", str(folder)] if folder else [])]
    code, out, err = invoke(site, "failover-test", *options, *words, seconds=1500)
    assert code in (0, 1), out + err
    proof: dict[str, Any] = json.loads(out)
    assert proof["stopped"] == "", proof["stopped"]
    assert proof["passed"] == (code == 0)
    assert not folder or proof == json.loads((folder / "report.json").read_text())
    return proof


def run_one(site: Site, fault: str, load: tuple[str, ...] = FEW_WRITERS) -> dict[str, Any]:
    """The one trial of a failover test, which was as promised."""
    (trial,) = run(site, "--fault", fault, load=load)["trials"]
    as_promised(trial)
    return dict(trial)


def switch_over(site: Site, *words: str) -> dict[str, Any]:
    """The one trial that a switchover is, which was as promised."""
    code, out, err = invoke(site, "switchover", "--yes", "--json", *words)
    assert code in (0, 1), out + err
    (trial,) = json.loads(out)["trials"]
    as_promised(trial)
    return dict(trial)


def as_promised(trial: dict[str, Any]) -> None:
    """Nothing is lost, and it does what was said, if not as quickly."""
    name, writes = trial["fault"], trial["writes"]
    assert {key: writes[key]["count"] for key in NOTHING} == dict.fromkeys(NOTHING, 0), (name, trial["note"])
    assert writes["split_brain"] == [] and trial["reads"]["reads_of_lost_rows"] == 0, name
    assert trial["outage"] is not None and trial["healthy_again"] is not None, (name, trial["problems"])
    assert [text for text in trial["failures"] if not text.startswith(LATE)] == [], name
    late = trial["bounded_seconds"] is not None and trial["bounded_seconds"] > trial["prediction"]["within"] + BUSY_SECONDS
    assert not late, (name, trial["failures"], trial["timeline"])
