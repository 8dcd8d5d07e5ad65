"""What trials found, for a terminal, a program and a browser."""

from __future__ import annotations

from rich.console import Console

from day2.trials.result import Proof
from day2.ui.console import EXIT_INTERRUPTED, EXIT_OK, EXIT_PROBLEM, print_json

from . import document, planned, terminal


def show(out: Console, proof: Proof, *, as_json: bool, interrupted: bool, as_planned: bool = False) -> int:
    """Shows a proof to a person, and as JSON on stdout where that was asked for; returns the exit code. `as_planned`: it was
    work that had to be done, not a test."""
    if proof.trials:
        (planned if as_planned else terminal).show(out, proof)
    if as_json:
        print_json(document.FORMAT, document.document(proof))
    if interrupted:
        return EXIT_INTERRUPTED
    return EXIT_OK if proof.passed else EXIT_PROBLEM
