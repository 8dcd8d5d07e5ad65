"""Where the checkout is, and what it is as it is shipped."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def ship(target: Path) -> Path:
    """inventory.py and group_data/ in another directory, as git has them: not what an owner has made of them here."""
    listed = subprocess.run(
        ["git", "ls-files", "--", "inventory.py", "group_data"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    subprocess.run(["git", "checkout-index", f"--prefix={target}/", "--", *listed.stdout.split()], cwd=ROOT, check=True)
    return target
