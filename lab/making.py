"""How what labs are made from is made: images and packages, built once, kept outside the repository, never half there."""

from pathlib import Path

from lab.command import run

# In namespaces of its own that die with this process: an interrupted build leaves neither process nor mount.
ALONE = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")


def delete(folder: Path) -> None:
    """Remove a directory and what is in it, but nothing that is mounted there."""
    run("rm", "--recursive", "--force", "--one-file-system", str(folder))
