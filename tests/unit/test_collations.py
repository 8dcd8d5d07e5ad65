"""Whether hosts sort text alike: what is asked of them, and what is said of their answers."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest
import views
from clusters import cluster

from day2.commands.look.verify import sorting
from day2.hosts.ssh import CommandResult, Fleet
from health.collations import COLLATIONS, DATABASES, collations, script


def line(here: str, recorded: str | None = "153.120", database: str = "shop", collation: str | None = None) -> str:
    said = {"database": database, "collation": collation, "provider": "i", "recorded": recorded, "here": here}
    return f"{json.dumps(said)}\n"


def said(**outputs: str) -> list[str]:
    found = list(collations(outputs))
    assert all((one.rule, one.level, one.about) == ("collations.differ", "warning", "collations") for one in found)
    return [one.text for one in found]


def test_hosts_whose_library_differs_are_named_with_its_versions() -> None:
    (text,) = said(db1=line("153.120"), db2=line("153.128"), db3=line("153.120"))
    told = "text in database shop is sorted by ICU, whose version differs: 153.120 on db1, db3, 153.128 on db2"
    assert text == f"{told} (docs/runbook.md, Hosts sort text differently)"


def test_indexes_from_before_an_upgrade_of_all_hosts_are_told() -> None:
    (text,) = said(db1=line("153.128"), db2=line("153.128"))
    assert "differs: 153.120 when its indexes were made, 153.128 on db1, db2" in text


def test_an_index_of_its_own_collation_is_told_by_that_and_many_in_one_sentence() -> None:
    some = [f"d{n}" for n in range(5)]
    (text,) = said(
        db1="".join(line("153.120", database=name, collation="de-x-icu") for name in some),
        db2="".join(line("153.128", database=name, collation="de-x-icu") for name in some),
    )
    assert text.startswith(
        "text in database d0 (collation de-x-icu), d1 (collation de-x-icu), d2 (collation de-x-icu) and 2 more"
    )


def test_a_host_that_does_not_say_is_named_and_the_others_are_judged() -> None:
    answers = {
        "db1": CommandResult("db1", 0, f"Last login: noon\n{line('153.120')}"),
        "db2": CommandResult("db2", 0, line("153.128")),
        "db3": CommandResult("db3", 1, "", problem="psql: error: no room"),
    }
    fleet = SimpleNamespace(run_all=lambda commands, script: {name: answers[name] for name in commands})
    found = list(sorting(cast(Fleet, fleet), cluster(), views.view()))
    assert [(one.rule, one.about) for one in found] == [("host.unseen", "db3"), ("collations.differ", "collations")]
    assert found[0].text == "how it sorts text could not be seen: psql: error: no room"


def test_hosts_that_sort_alike_are_no_matter() -> None:
    assert said() == said(db1="", db2="") == []
    assert said(db1=line("153.120"), db2=line("153.120")) == []
    assert said(db1=line("2.41", None), db2=line("2.41", None)) == []


PSQL = """#!/bin/sh
for last; do :; done
case $last in
  *datname\\ from*) printf 'postgres\\nhost=evil x\\nshop\\n' ;;
  *) echo "$PGOPTIONS|$PGDATABASE|$*"; [ "$PGDATABASE" != "$REFUSED" ] ;;
esac
"""


@pytest.mark.parametrize("refused", ["", "postgres", "shop"])
def test_each_database_is_asked_and_none_by_a_connection_string(tmp_path: Path, refused: str) -> None:
    for name, text in (("psql", PSQL), ("runuser", '#!/bin/sh\nshift 3\nexec "$@"\n')):
        tmp_path.joinpath(name).write_text(text)
        tmp_path.joinpath(name).chmod(0o755)
    text = script(cluster()).replace("/usr/lib/postgresql/18/bin", str(tmp_path))
    env = {"PATH": f"{tmp_path}:/usr/bin:/bin", "REFUSED": refused}
    done = subprocess.run(["sh"], input=text, env=env, capture_output=True, text=True, check=False)
    asked = f"-XAtq -h /var/run/postgresql -p 5432 -c {' '.join(COLLATIONS.split())}"
    names = ("postgres", "host=evil x", "shop")
    assert done.stdout.splitlines() == [f"-c search_path=pg_catalog|{name}|{asked}" for name in names]
    assert "datallowconn" in DATABASES and done.stderr == ""
    assert done.returncode == (1 if refused else 0)
