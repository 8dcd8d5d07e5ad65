"""What all tests share: the checkout is importable, nothing comes from the environment of whoever runs them, and what must run in
one process when they run in several (`--dist loadgroup`)."""

import os
import signal
import sys

import pytest
from repository import ROOT

sys.path.insert(0, str(ROOT))

for variable in [name for name in os.environ if name.startswith(("PGQUORUM_", "PYINFRA_", "INVOKE_", "PG"))]:
    del os.environ[variable]

# A shell starts what it puts in the background with Ctrl-C ignored, and so would everything that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)  # before the plugin that reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Each file is for one process. Those on real hosts share one cluster for what a deploy changes, and one for what breaks."""
    for item in items:
        file, folder = item.path.name, item.path.parent.name
        group = str(item.path) if folder != "lab" else "deploys" if file < "test_70" else "faults"
        item.add_marker(pytest.mark.xdist_group(folder if folder == "machines" else group))


@pytest.hookimpl(trylast=True)
def pytest_unconfigure(config: pytest.Config) -> None:
    """Ctrl-C ends the processes of a parallel run before they have taken their labs down."""
    if os.geteuid() == 0 and not hasattr(config, "workerinput") and config.getoption("numprocesses", None):
        sys.path.insert(0, str(ROOT / "tests" / "lab"))
        from hosts import LABS, MACHINES, reserved

        for spec in (*LABS, MACHINES):
            with reserved(spec, seconds=5):
                pass
