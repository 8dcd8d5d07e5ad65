"""How a host without etcd data joins is decided from the live member list."""

from __future__ import annotations

import json

from cluster.etcd_membership import Join, Member, join_plan, parse_members

URLS = [f"https://10.0.0.{n}:2380" for n in (1, 2, 3)]
STARTED = [Member(f"a{n}", f"db{n}", url, started=True) for n, url in enumerate(URLS, 1)]


def test_nobody_answers_so_it_is_a_new_cluster() -> None:
    assert join_plan(URLS[0], None) == Join("new")


def test_a_host_that_is_not_listed_is_added() -> None:
    assert join_plan(URLS[2], STARTED[:2]) == Join("existing", add=True)


def test_a_member_that_lost_its_data_leaves_before_it_comes_back() -> None:
    assert join_plan(URLS[1], STARTED) == Join("existing", remove="a2", add=True)


def test_a_member_that_was_added_and_never_started_just_starts() -> None:
    """A deploy that died between `member add` and the start is mended by the next."""
    added = [*STARTED[:2], Member("a3", "", URLS[2], started=False)]
    assert join_plan(URLS[2], added) == Join("existing")


def test_the_member_list_as_etcdctl_prints_it() -> None:
    text = json.dumps(
        {
            "header": {"cluster_id": 1},
            "members": [
                {"ID": 10501334649042878790, "name": "db1", "peerURLs": [URLS[0]], "clientURLs": ["https://10.0.0.1:2379"]},
                {"ID": 2, "peerURLs": [URLS[1]]},
            ],
        }
    )
    assert parse_members(text) == [
        Member("91bc3c398fb3c146", "db1", URLS[0], started=True),
        Member("2", "", URLS[1], started=False),
    ]
