"""What came of a drill of a backup, for a person: lines, a text, and a page. Pure but for `write`.

A result is the JSON document that the drill has left (agents/drill_files.py; docs/json.md has its keys).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from cluster.printable import printable
from day2.ui.console import size, to_json

from .files import put
from .pages import render

Result = Mapping[str, Any]

RTO = "Recovery time objective: how long it takes until there is a server again. Measured from the beginning of the restore to a"
RTO += " server that answers, by itself and with what its host has to spare."
RPO = (
    "Recovery point objective: how much of what was acknowledged may be lost when all database hosts are lost at once, and the"
    " repository is all that is left. Measured as the seconds from the acknowledgement of a row that was the first of a file of"
    " the write-ahead log until that file was in the archive, at the rate at which the cluster wrote then: no other row is at"
    " risk for longer."
)
# What is looked at, as the page tells it.
METHOD = (
    "The backup was restored beside the living cluster, and recovered by PostgreSQL itself from the archive. The server on the"
    " copy listened on no network, archived nothing, and went away with the copy. pg_amcheck looked at every table and index of"
    " every database: whether rows can be read, whether every row is in its indexes and these are in order, and whether what is"
    " unique is so. pg_checksums then read every page."
)
COMPARED = (
    "For the comparison the replay of a replica was paused at one position of the log, where it went on to receive and"
    " acknowledge writes. Of every table, the system's own included, its rows were counted there and their contents summed up;"
    " the copy was recovered to that position, neither before nor after, and asked the same."
)


def headline(result: Result) -> str:
    """The verdict in a line."""
    name = result["backup"] or "a backup"
    return f"{name} is proven" if result["passed"] else f"{name} is not proven"


def seconds(value: float | None) -> str:
    """A duration: `3.8 s`, `12 min`."""
    if value is None:
        return "-"
    if value < 120:
        return f"{value:.1f} s"
    return f"{value / 60:.0f} min" if value < 7200 else f"{value / 3600:.1f} h"


def moment(value: float) -> str:
    return f"{datetime.fromtimestamp(value, UTC):%Y-%m-%d %H:%M:%S}"


def rows(result: Result) -> list[tuple[str, str, str]]:
    """What was measured and seen, as far as the drill came: name, figure, a note about it."""
    return list(_rows(result))


def _rows(result: Result) -> Iterator[tuple[str, str, str]]:
    yield "backup", result["backup"] or "-", f"{result['type']}, on {result['host']}, {moment(result['began'])} UTC"
    if result["restore_seconds"] is not None:
        rate = f"{size(result['rate'])}/s"
        yield "restored", f"{size(result['size'])} in {seconds(result['restore_seconds'])}", rate
    if result["rto"] is not None:
        note = f"from the beginning of the restore to a server that answers; {seconds(result['recovery_seconds'])} for recovery"
        yield "RTO", seconds(result["rto"]), note
    if result.get("rpo") is not None:
        yield (
            "RPO",
            seconds(result["rpo"]),
            "the longest that an acknowledged row was in no archive: the first of a file, until that was",
        )
    elif result.get("paused_seconds") is not None:
        yield "RPO", "not seen", "an acknowledged row was not in the archive a minute after archive_timeout"
    if result["recovered_to"]:
        asked = "as was asked" if result["target"] else "the end of the archive"
        yield "recovered to", result["recovered_to"], f"{asked}; last transaction {result['newest_transaction'] or 'unknown'}"
    if compared := result["compared"]:
        differ = len(compared["differences"])
        left = f"; {compared['left_out']:,} tables were not reached in time" if compared["left_out"] else ""
        figure = f"{compared['tables']:,} tables with {compared['rows']:,} rows are the same"
        if not compared["tables"]:
            figure = "nothing is known to be the same"
            left += "; backup_drill_pause is too short" if compared["left_out"] and not differ else ""
        yield "compared", figure, f"with {compared['with']}{f', {differ} differ' if differ else ''}{left}"
    if result["amcheck_seconds"] is not None:
        complaints = len(result["amcheck_complaints"] or ())
        yield "pg_amcheck", f"{complaints or 'no'} complaints", seconds(result["amcheck_seconds"])
    if result["checksums_seconds"] is not None:
        wrong = f"{result['bad_blocks'] or 'none'} with a wrong checksum"
        yield "pg_checksums", f"{result['blocks']:,} pages, {wrong}", seconds(result["checksums_seconds"])


def text(result: Result) -> str:
    """All of it, to be read as it is."""
    lines = [f"Cluster {result['cluster']}: {headline(result)}", ""]
    lines += [f"{name:14} {figure}  ({note})" for name, figure, note in rows(result)]
    lines += ["", *(f"problem: {failure}" for failure in result["failures"])] if result["failures"] else []
    return printable("\n".join(lines)) + "\n"


def page(result: Result) -> str:
    """A page that needs nothing else."""
    return render(
        "drill.html.j2", result=result, headline=headline(result), rows=rows(result), seconds=seconds, size=size, moment=moment,
        rto=RTO, rpo=RPO, method=METHOD, how_compared=COMPARED,
    )  # fmt: skip


def write(directory: Path, result: Result) -> list[Path]:
    """Writes drill.json, drill.txt and drill.html, and returns their paths. Raises ClusterError where it can't."""
    forms = {"drill.json": to_json(result) + "\n", "drill.txt": text(result), "drill.html": page(result)}
    return [put(directory / name, content) for name, content in forms.items()]
