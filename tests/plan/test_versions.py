"""Hosts note the version that deployed them: an older checkout is refused, and an upgrade says beforehand what it changes."""

from __future__ import annotations

import json
import re

import pytest
from conftest import DATABASES, HOSTS, SURVEY, Answers, Rehearsal, Stage, living, on_disk
from test_order import MEMBERS, member_list
from test_refusals import refused

from cluster import paths
from cluster.vault import Vault
from cluster.version import own

WRITTEN = re.compile(r't=\$\(mktemp (\S+)\.XXXXXX\).*chown (\S+) "\$t" && chmod (\d+) "\$t"', re.DOTALL)
CHANGELOG = """
## 0.3.0

### On hosts

- `a` goes. Restarts nothing.

## 0.2.0

### On hosts

- `b` comes. Restarts etcd, one member at a time.
"""


def checkout(stage: Stage, version: str) -> None:
    """The checkout is of another version."""
    stage.write("pyproject.toml", f'[project]\nname = "pgquorum"\nversion = "{version}"\n')
    stage.write("CHANGELOG.md", CHANGELOG)


def deployed(vault: Vault, version: str | None, *more: str) -> Answers:
    """Hosts of the cluster that a version has deployed, with etcd at work; `more` is what else their survey says."""
    return [(".", SURVEY, [*living(vault, version), *more]), (".", MEMBERS, ["data", member_list(*DATABASES)])]


def files(run: Rehearsal) -> dict[str, dict[str, tuple[str, str]]]:
    """What a run wrote: by host, path to the state in which the next one finds it, its hash and its owner with the mode."""
    written: dict[str, dict[str, tuple[str, str]]] = {host: {} for host in HOSTS}
    for command in run.commands:
        if command.executing and (found := WRITTEN.search(command.command)):
            written[command.host][found[1]] = command.digest, f"{found[2]} {found[3]}"
    return written


def test_a_first_deploy_notes_its_version(first_deploy: Rehearsal) -> None:
    notes = [first_deploy.commands[n].stdin for n in first_deploy.executed("cluster.json.XXXX")]
    assert [json.loads(note)["version"] for note in notes] == [str(own())] * len(HOSTS)
    assert "were deployed by" not in first_deploy.output


def test_an_older_checkout_is_refused_before_any_change(stage: Stage) -> None:
    checkout(stage, "0.2.0")
    vault = stage.deployed_before()
    answers: Answers = [(DATABASES[1], SURVEY, living(vault, "0.10.0")), *deployed(vault, "0.2.0")]
    sentence = (
        f"hosts were deployed by 0.10.0 ({DATABASES[1]}), and this checkout is older, 0.2.0: use one of at least 0.10.0,"
        " or insist with --data downgrade_from=0.10.0"
    )
    for option in ("-y", "--dry"):
        refused(stage.rehearse(option, answers=answers), sentence)
    refused(stage.rehearse("-y", "--data", "downgrade_from=0.9.0", answers=answers), sentence)


def test_who_insists_goes_back_and_is_told_what_that_means(stage: Stage) -> None:
    checkout(stage, "0.2.0")
    vault = stage.deployed_before()
    run = stage.rehearse("-y", "--data", "downgrade_from=0.10.0", answers=deployed(vault, "0.10.0"))
    assert run.exit_code == 0, run.output
    notes = [run.commands[n].stdin for n in run.executed("cluster.json.XXXX")]
    assert [json.loads(note)["version"] for note in notes] == ["0.2.0"] * len(HOSTS)
    assert run.output.count("what 0.10.0 has put there stays there where 0.2.0 does not know it") == 1


def test_a_note_that_is_no_version_is_refused(stage: Stage) -> None:
    answers = deployed(stage.deployed_before(), "new")
    refused(stage.rehearse("-y", answers=answers), *(f"host {host}: version = 'new' in {paths.MARKER}" for host in HOSTS))


def test_a_checkout_without_a_version_is_refused(stage: Stage) -> None:
    stage.write("pyproject.toml", "[tool.mypy]\n")
    refused(stage.rehearse("-y"), "pyproject.toml has no version under [project]")


@pytest.mark.parametrize(("noted", "versions"), [(None, "0.2.0 0.3.0"), ("0.2.0", "0.3.0"), ("0.3.0", "")])
def test_an_upgrade_says_once_and_beforehand_what_it_changes(stage: Stage, noted: str | None, versions: str) -> None:
    checkout(stage, "0.3.0")
    run = stage.rehearse("--dry", answers=deployed(stage.deployed_before(), noted))
    assert run.exit_code == 0, run.output
    assert run.changed_nothing
    assert run.output.count("hosts were deployed by") == bool(versions)
    quoted = re.findall(r"^ +([0-9.]+): `\w` \w+\. Restarts (?:nothing|etcd)", run.output, re.MULTILINE)
    assert quoted == versions.split()
    if versions:
        assert run.output.index("hosts were deployed by") < run.output.index("would be changed:")


def test_an_upgrade_that_changes_only_the_version_changes_only_the_note_of_it(stage: Stage) -> None:
    vault = stage.deployed_before()
    before = stage.rehearse("-y", answers=deployed(vault, str(own())))
    assert before.exit_code == 0, before.output
    there: Answers = [(host, "sha256sum", [line for path, state in found.items() for line in on_disk(path, *state)])
                      for host, found in files(before).items()]  # fmt: skip
    had = f"last_deploy {before.commands[before.first(f'mktemp {paths.LAST_DEPLOY}')].stdin.strip()}"
    for noted, changed in ((str(own()), set()), (None, {paths.MARKER}), ("0.0.1", {paths.MARKER})):
        run = stage.rehearse("-y", answers=[*there, *deployed(vault, noted, had)])
        assert run.exit_code == 0, run.output
        assert {host: set(found) for host, found in files(run).items()} == dict.fromkeys(HOSTS, changed)
    note = json.loads(run.commands[run.first("cluster.json.XXXX")].stdin)
    assert note == {"cluster": "shop", "id": vault.cluster_id, "deployed_from": "ann@desk:/home/ann/pg", "version": str(own())}


def test_a_newer_version_that_has_deployed_since_the_survey_is_not_overwritten(stage: Stage) -> None:
    vault = stage.deployed_before()
    meanwhile: Answers = [(DATABASES[2], SURVEY, living(vault, "99.0.0"), True), (".", "^false$", None)]
    run = stage.rehearse("-y", answers=[*meanwhile, *deployed(vault, str(own()))])
    assert run.exit_code != 0
    assert "another run has deployed here meanwhile: run again" in run.output
    assert not any(files(run).values())
