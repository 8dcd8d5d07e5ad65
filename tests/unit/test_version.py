"""The tool's version, and the changelog in the form that a deploy quotes."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from repository import ROOT

from cluster.changelog import HOSTS, RENAMED, SECTIONS, Release, announcement, read, releases
from cluster.errors import ClusterError
from cluster.settings import RENAMED as RENAMED_SETTINGS
from cluster.settings import VARIABLES
from cluster.version import FIRST_NOTED, UNNOTED, Version, own, parse, told

CHANGELOG = (ROOT / "CHANGELOG.md").read_text()
TEXT = """# Changelog

- nothing of a version

## 0.10.0

### What an owner must know

- much

### On hosts

- `a` and
  `b`. Restarts nothing.
- `c`. Restarts etcd, one member at a time.

### Renamed settings

- `x` is now `y`

## 0.3.0

### On hosts

- `d`. Restarts nothing.

## 0.2.0

### On hosts

- `e`. Restarts nothing.
"""


def renamed(found: list[Release]) -> dict[str, tuple[str, str]]:
    """The renamed settings of a changelog, as cluster/settings.py has them."""
    lines = [(item, str(r.version)) for r in found for item in r.sections.get(RENAMED, []) if item != "none"]
    names = [(re.fullmatch(r"`(\w+)` is now `(\w+)`", item), version) for item, version in lines]
    assert all(match for match, _ in names), lines
    return {match[1]: (match[2], version) for match, version in names if match}


@pytest.mark.parametrize("text", ["0.2.0", "10.20.30", "0.0.0"])
def test_a_version_is_what_it_was_written_as(text: str) -> None:
    assert str(parse(text)) == f"{parse(text)}" == text


@pytest.mark.parametrize("text", ["", "1.2", "1.2.3.4", "v1.2.3", " 1.2.3", "1.2.3\n", "1.2.x", "-1.2.3", "1.2.٣", None, 0.2])
def test_what_is_no_version(text: object) -> None:
    with pytest.raises(ValueError, match=r"should be a version such as '0\.2\.0'"):
        parse(text)


def test_versions_are_compared_by_their_numbers() -> None:
    assert [str(v) for v in sorted(map(parse, ("0.10.0", "0.9.9", "1.0.0", "0.9.10")))] == ["0.9.9", "0.9.10", "0.10.0", "1.0.0"]
    assert UNNOTED < FIRST_NOTED


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (None, "can't be read"),
        ("[project", "has no version"),
        ("[tool]\n", "has no version"),
        ("project = 1\n", "has no version"),
        ("[project]\nversion = '1'\n", "has no version"),
    ],
)
def test_a_checkout_without_a_version_is_told_in_words(tmp_path: Path, text: str | None, why: str) -> None:
    file = tmp_path / "pyproject.toml"
    if text is not None:
        file.write_text(text)
    with pytest.raises(ClusterError, match=why) as error:
        own(file)
    assert str(file) in str(error.value)


def test_who_was_deployed_by_what() -> None:
    noted = {"db2": "0.3.0", "db1": "0.3.0", "proxy1": None}
    assert told(noted) == "0.3.0 (db1, db2), a version before 0.2.0 (proxy1)"


def test_a_changelog_is_read_by_version_and_section() -> None:
    found = releases(TEXT)
    assert [str(release.version) for release in found] == ["0.10.0", "0.3.0", "0.2.0"]
    assert tuple(found[0].sections) == SECTIONS
    assert found[0].sections[HOSTS] == ["`a` and `b`. Restarts nothing.", "`c`. Restarts etcd, one member at a time."]
    assert renamed(found) == {"x": ("y", "0.10.0")}


def test_a_changelog_that_is_not_there_stops_nothing(tmp_path: Path) -> None:
    assert read(tmp_path / "CHANGELOG.md") == []
    lines = announcement({"db1": "0.2.0"}, Version(0, 3, 0), [])
    assert "CHANGELOG.md does not say what that changes" in lines[1]


@pytest.mark.parametrize(
    ("noted", "checkout", "quoted"),
    [
        ({"db1": "0.3.0", "db2": "0.2.0"}, "0.10.0", "dabc"),
        ({"db1": "0.10.0", "db2": "0.3.0"}, "0.10.0", "abc"),
        ({"db1": None, "db2": "0.3.0"}, "0.3.0", "ed"),
    ],
)
def test_before_an_upgrade_what_the_versions_between_change_is_quoted_the_oldest_first(
    noted: dict[str, str | None], checkout: str, quoted: str
) -> None:
    heading, *lines, end = announcement(noted, parse(checkout), releases(TEXT))
    others = {name: note for name, note in noted.items() if note != checkout}
    assert heading == f"hosts were deployed by {told(others)}, this is {checkout}:"
    assert "".join(re.findall(r"`(\w)`", " ".join(lines))) == quoted
    assert all("Restarts" in line for line in lines)
    assert "--dry --diff" in end


def test_nothing_is_said_where_this_version_has_deployed_all_hosts_or_none() -> None:
    for noted in ({"db1": "0.10.0", "db2": "0.10.0"}, {}):
        assert announcement(noted, parse("0.10.0"), releases(TEXT)) == []


def test_going_back_says_that_what_is_not_known_stays() -> None:
    heading, stays, _ = announcement({"db1": "0.10.0"}, parse("0.3.0"), releases(TEXT))
    assert heading == "hosts were deployed by 0.10.0 (db1), this is 0.3.0:"
    assert "what 0.10.0 has put there stays there where 0.3.0 does not know it" in stays


def test_the_changelog_begins_with_this_version_and_goes_back_to_the_first() -> None:
    versions = [release.version for release in releases(CHANGELOG)]
    assert versions[0] == own()
    assert versions == sorted(set(versions), reverse=True)
    assert versions[-1] == UNNOTED
    assert [f"## {version}" for version in versions] == [line for line in CHANGELOG.splitlines() if line.startswith("## ")]


@pytest.mark.parametrize("release", releases(CHANGELOG), ids=lambda release: str(release.version))
def test_each_version_has_all_sections_and_says_what_restarts(release: Release) -> None:
    assert tuple(release.sections) == SECTIONS
    assert all(release.sections[heading] for heading in SECTIONS)
    for line in release.sections[HOSTS]:
        assert re.search(r"\. Restarts [^.]+\.$", line), line


def test_every_line_of_the_changelog_belongs_to_an_item() -> None:
    """What is quoted is all that stands there."""
    body = CHANGELOG[CHANGELOG.index("\n## ") :]
    assert [line for line in body.splitlines() if line and not line.startswith(("## ", "### ", "- ", "  "))] == []


def test_renamed_settings_are_the_same_in_the_changelog_and_in_the_refusal_of_the_old_name() -> None:
    assert renamed(releases(CHANGELOG)) == RENAMED_SETTINGS
    known = {variable for _, variables in VARIABLES.values() for variable in variables}
    assert {new for new, _ in RENAMED_SETTINGS.values()} <= known
    assert not known & set(RENAMED_SETTINGS)
