"""The Debian packages that the machine itself needs to carry a lab."""

from collections.abc import Callable, Iterable

from lab.command import LabError, attempt, run

NEEDED = (
    "debian-archive-keyring",
    "e2fsprogs",
    "iproute2",
    "mmdebstrap",
    "openssh-client",
    "systemd-container",
    "util-linux",
)


def missing(dpkg_output: str, needed: Iterable[str] = NEEDED) -> list[str]:
    """Which of the needed packages are not installed, given the lines "PACKAGE STATUS" of dpkg-query."""
    installed = set(dpkg_output.splitlines())
    return [name for name in needed if f"{name} installed" not in installed]


def ensure(say: Callable[[str], None]) -> None:
    """Install what is missing with apt-get, and say so. Raises LabError where there is no apt-get or it fails."""
    try:
        # It exits with 1 when it knows nothing about one of them; what it prints is right all the same.
        known = attempt("dpkg-query", "--show", "--showformat=${Package} ${db:Status-Status}\n", *NEEDED).stdout
    except LabError:
        raise LabError(f"the lab needs a Debian or Ubuntu machine with {', '.join(NEEDED)}") from None
    wanted = missing(known)
    if wanted:
        say(f"installing what this machine lacks for a lab: {', '.join(wanted)}")
        attempt("apt-get", "update")  # that some other package source does not answer is no reason to stop
        install = ("apt-get", "--option=DPkg::Lock::Timeout=120", "install", "--yes", "--no-install-recommends")
        run("env", "DEBIAN_FRONTEND=noninteractive", *install, *wanted)
