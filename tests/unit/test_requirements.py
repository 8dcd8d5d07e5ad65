"""What is installed on the operator's machine: all of it is named, with the hashes of its files."""

from __future__ import annotations

import re

from packaging.requirements import Requirement
from repository import ROOT

LOCKED = (ROOT / "requirements.txt").read_text()
# Each with what goes with it: the line of a package, and those of its hashes.
ENTRIES = [text for text in re.split(r"\n(?=\S)", re.sub(r"(?m)^\s*#.*\n?", "", LOCKED).strip()) if text]
ASKED = [line for line in (ROOT / "requirements.in").read_text().splitlines() if line and line[0] != "#"]
OPERATOR = ("3.11", "3.12", "3.13", "3.14")


def locked(python: str) -> dict[str, str]:
    """For each package what is installed with that Python on Linux: `==VERSION`."""
    place = {"python_version": python, "python_full_version": f"{python}.0", "sys_platform": "linux"}
    found = [Requirement(entry.partition("\\")[0].strip()) for entry in ENTRIES]
    return {one.name: str(one.specifier) for one in found if one.marker is None or one.marker.evaluate(place)}


def test_what_we_ask_for_is_locked_as_we_ask_for_it_for_every_python() -> None:
    """Whoever changes requirements.in and forgets `make lock` sees it here."""
    asked = {one.name.lower(): str(one.specifier) for one in map(Requirement, ASKED)}
    assert asked
    for python in OPERATOR:
        there = locked(python)
        assert {name: there.get(name) for name in asked} == asked, python


def test_all_of_it_is_pinned_and_has_hashes() -> None:
    """Else pip refuses the file."""
    for entry in ENTRIES:
        assert re.match(r"[\w.\-]+(\[\w,]+)?==[\w.]+ ", entry), entry
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


def test_the_lock_names_no_place_to_get_packages_from() -> None:
    """That is the operator's: an index, or a mirror of one."""
    assert "://" not in LOCKED
    assert not re.search(r"(?m)^-", LOCKED)
