"""The rule that the tool's own roles may do what they are for, and nothing else. Whether they can log in is health/logins.py."""

from __future__ import annotations

from collections.abc import Iterator

from cluster.own_roles import differences
from cluster.topology import Cluster

from ..finding import Finding, finding
from ..view import ClusterView


def own_roles(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Each that differs is named with all in which it does."""
    for name, words in differences(cluster, view.primary.own_roles).items() if view.primary else ():
        yield finding("roles.other-rights", "roles", f"{name} {', '.join(words)}, by hand: a deploy puts that right")
