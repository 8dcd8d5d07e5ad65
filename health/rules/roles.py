"""The rules that the tool's own roles may do what they are for, and nothing else, and that what the settings have is there.
Whether the tool's roles can log in is health/logins.py."""

from __future__ import annotations

from collections.abc import Iterator

from cluster import paths
from cluster.own_roles import differences
from cluster.topology import Cluster

from ..finding import Finding, finding
from ..view import ClusterView


def own_roles(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """Each that differs is named with all in which it does."""
    for name, words in differences(cluster, view.primary.own_roles).items() if view.primary else ():
        yield finding("roles.other-rights", "roles", f"{name} {', '.join(words)}, by hand: a deploy puts that right")


def there(view: ClusterView, cluster: Cluster) -> Iterator[Finding]:
    """The roles and databases of the settings are there: one that is new is not, until a deploy, and neither is one that was
    dropped by hand."""
    for role in view.primary.missing_roles if view.primary else ():
        yield finding("roles.missing", "roles", f"role {role} of the settings is not there: a deploy makes it")
    for database in view.primary.missing_databases if view.primary else ():
        what = "of the settings" if database != paths.PROBE_DATABASE else "of this tool"
        yield finding("databases.missing", "databases", f"database {database} {what} is not there: a deploy makes it, empty")
