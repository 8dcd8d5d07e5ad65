"""A plan as a person and a program get to see it: the steps that a command runs, or with --dry would run."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.markup import escape

from cluster.errors import ClusterError
from cluster.topology import Cluster
from day2.procedures.steps import BaseStep, Plan, documents
from day2.ui.console import print_json

FORMAT = "pgquorum plan 1"


def refuse(what: str, against: Iterable[str]) -> None:
    """Raises ClusterError with all that speaks against `what`, a sentence each, if anything does."""
    if lines := [f"  - {text}" for text in against]:
        raise ClusterError("\n".join([f"no {what} now, nothing was touched:", *lines]))


def show_plan(out: Console, plan: Sequence[BaseStep], costs: Iterable[str] = ()) -> None:
    """What it `costs` (day2/procedures/costs.py), and a numbered line for each step."""
    for text in costs:
        out.print(f"[yellow]warning[/]  {escape(text)}", soft_wrap=True)
    for number, step in enumerate(plan, 1):
        out.print(f"  {number}. {escape(str(step))}", soft_wrap=True)


def print_plan(cluster: Cluster, plan: Plan) -> None:
    """The plan as a JSON document on stdout."""
    print_json(FORMAT, {"cluster": cluster.name, "planned": documents(plan)})
