"""A library that no session, or nobody who archives, could load is refused by its file."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest
from clusters import cluster

from cluster.preloaded import command, files, problems

LIBRARIES = "/usr/lib/postgresql/18/lib"


@pytest.mark.parametrize(
    ("parameters", "wanted"),
    [
        ({"session_preload_libraries": "auto_explain"}, ["auto_explain.so"]),
        ({"Session_Preload_Libraries": ' auto_explain , "two.so",'}, ["auto_explain.so", "two.so"]),
        ({"local_preload_libraries": "mine, $libdir/plugins/yours"}, ["plugins/mine.so", "plugins/yours.so"]),
        ({"session_preload_libraries": ""}, []),
        ({"archive_library": "basic_archive"}, ["basic_archive.so"]),
        ({"shared_preload_libraries": "pg_cron"}, []),
        ({"session_preload_libraries": "x", "dynamic_library_path": "/opt/lib:$libdir"}, []),
        ({}, []),
    ],
)
def test_where_a_library_has_to_be(parameters: dict[str, Any], wanted: list[str]) -> None:
    of = files(cluster(postgres_parameters=parameters))
    assert [file for found in of.values() for file in found] == [f"{LIBRARIES}/{name}" for name in wanted]
    assert bool(command(cluster(postgres_parameters=parameters))) == bool(wanted)


def test_what_a_host_lacks_is_named_with_its_parameter(tmp_path: Path) -> None:
    there = tmp_path / "there.so"
    there.touch()
    shop = cluster(postgres_parameters={"session_preload_libraries": f"{there},{tmp_path}/gone"})
    said = subprocess.run(["sh", "-c", command(shop)], capture_output=True, text=True, check=True).stdout.split()
    assert said == [f"{tmp_path}/gone.so"]
    (sentence,) = problems(shop, said)
    assert sentence.startswith("postgres_parameters[session_preload_libraries] = ")
    assert f"there is no {tmp_path}/gone.so, and no session would begin: install the package" in sentence
    assert problems(shop, []) == []
    archived = cluster(postgres_parameters={"archive_library": "gone"})
    assert "gone.so, and nothing would be archived: install" in problems(archived, [f"{LIBRARIES}/gone.so"])[0]
