"""What all tests share: the checkout is importable, and nothing comes from the environment of whoever runs them."""

import os
import signal
import sys

from repository import ROOT

sys.path.insert(0, str(ROOT))

for variable in [name for name in os.environ if name.startswith(("PGQUORUM_", "PYINFRA_", "INVOKE_", "PG"))]:
    del os.environ[variable]

# A shell starts what it puts in the background with Ctrl-C ignored, and so would everything that the tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
