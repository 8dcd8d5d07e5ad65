"""What all tests share: the checkout is importable, nothing comes from the environment of whoever runs them, and what must run in
one process where they run in several."""

import os
import signal
import sys
from collections import Counter
from pathlib import Path

import pytest
from repository import ROOT
from xdist.remote import Producer
from xdist.scheduler import LoadScopeScheduling
from xdist.workermanage import WorkerController

sys.path.insert(0, str(ROOT))

for variable in [name for name in os.environ if name.startswith(("PGQUORUM_", "PYINFRA_", "INVOKE_", "PG"))]:
    del os.environ[variable]
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # each of many hundred commands would compile all that it imports
os.environ["INVOKE_INVENTORY"] = "inventory.py"  # nor from an invoke.yaml in the checkout

# A shell starts what it puts in the background with Ctrl-C ignored, and so would everything that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption(
        "--keep-lab", action="store_true", help="leave the lab and its cluster up, for the next run with this option"
    )
    parser.addoption("--long", action="store_true", help="the tests marked as long, too, as `make prove` does")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Without `--long` those are left out, and counted as deselected."""
    if not config.getoption("long") and (left_out := [item for item in items if item.get_closest_marker("long")]):
        items[:] = [item for item in items if item not in left_out]
        config.hook.pytest_deselected(items=left_out)


# The files of tests/lab that share a cluster, by the first of them: four, about equally long. A cluster that only stands takes a
# sixth of a core, so more of them are no quicker on two.
CLUSTERS = {
    "test_10": "deploys",
    "test_54": "faults",
    "test_60": "deploys",
    "test_69": "proof",
    "test_70": "faults",
    "test_72": "seventeen",
    "test_73": "faults",
    "test_74": "seventeen",
    "test_75": "proof",
    "test_76": "deploys",
    "test_77_l": "proof",
    "test_80": "proof",
    "test_90": "deploys",
    "test_91": "seventeen",
    "test_95": "seventeen",
    "test_96": "proof",
    "test_98": "faults",
}
# Which process begins with which, and so on what kind of lab they run (KINDS and ODD_ONE of tests/lab). The lab's
# own tests, which have a lab of their own, and those that need none are for whoever is free.
BEGINS_WITH = {"gw0": "seventeen", "gw1": "deploys", "gw2": "faults", "gw3": "proof"}


class ByCluster(LoadScopeScheduling):
    """A parallel run: each file is one process's, and so are all those that share a cluster."""

    def _assign_work_unit(self, node: WorkerController) -> None:
        begin = BEGINS_WITH.get(node.gateway.id)
        if begin in self.workqueue:
            self.workqueue.move_to_end(begin, last=False)
        super()._assign_work_unit(node)

    def _split_scope(self, nodeid: str) -> str:
        return part_of(nodeid) or nodeid.partition("::")[0]


def part_of(nodeid: str) -> str:
    """What a test on real hosts belongs to; empty for any other."""
    file = Path(nodeid.partition("::")[0])
    if file.parent.name == "lab":
        return CLUSTERS[max(first for first in CLUSTERS if first <= file.name)]
    return "machines" if file.parent.name == "machines" else ""


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """How long each part took: they should be about equal."""
    seconds: Counter[str] = Counter()
    for reports in terminalreporter.stats.values():
        for report in reports:
            if isinstance(report, pytest.TestReport):
                seconds[part_of(report.nodeid) or "without hosts"] += round(report.duration)
    if set(seconds) - {"without hosts"}:
        terminalreporter.section("seconds of each part")
        terminalreporter.line(", ".join(f"{part} {taken}" for part, taken in seconds.most_common()))


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> ByCluster:
    config.option.loadscopereorder = False  # by their order, in which those on real hosts come first: they take longest
    return ByCluster(config, log)


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ctrl-C ends the processes of a parallel run before they have taken their labs down."""
    parallel = not hasattr(config, "workerinput") and config.getoption("numprocesses", None)
    if os.geteuid() == 0 and parallel and not config.getoption("keep_lab"):
        sys.path.insert(0, str(ROOT / "tests" / "lab"))
        from hosts import LABS, MACHINES, reserved

        for spec in (*LABS, MACHINES):
            with reserved(spec, seconds=5):
                pass
