"""A plan as a person and a program get to see it: the steps that a command runs, or with --dry would run."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.markup import escape

from cluster.topology import Cluster
from day2.procedures.steps import BaseStep, Plan, documents
from day2.ui.console import print_json

FORMAT = "pgquorum plan 1"


def show_plan(out: Console, plan: Sequence[BaseStep]) -> None:
    """A numbered line for each step."""
    for number, step in enumerate(plan, 1):
        out.print(f"  {number}. {escape(str(step))}", soft_wrap=True)


def print_plan(cluster: Cluster, plan: Plan) -> None:
    """The plan as a JSON document on stdout."""
    print_json(FORMAT, {"cluster": cluster.name, "planned": documents(plan)})
