"""Up to where write-ahead log is kept until it is archived."""

from __future__ import annotations

from typing import Any

import pytest

from agents.archive_slot import POSITIONS, WAITING, ArchiveSlot, archived_to
from cluster.slots import ARCHIVE

SIZE = 16 * 1024 * 1024
FIFTH = "000000030000000000000005"


@pytest.mark.parametrize(
    ("written", "waiting", "place"),
    [
        (7 * SIZE + 40, [], 7 * SIZE),
        (7 * SIZE, [], 7 * SIZE),
        (7 * SIZE + 40, ["000000030000000000000006", FIFTH], 5 * SIZE),
        (7 * SIZE + 40, ["00000003.history", "000000030000000000000006.partial"], 7 * SIZE),
        (0x1_0000_0000 + SIZE, ["0000000300000001" + "00000000"], 0x1_0000_0000),
    ],
)
def test_what_waits_and_the_file_that_is_being_written_are_kept(written: int, waiting: list[str], place: int) -> None:
    assert archived_to(written, waiting, SIZE) == place


class Server:
    def __init__(self, written: int | None, slot: int | None) -> None:
        self._said = {"written": written, "slot": slot, "segment_size": SIZE}
        self.asked: list[str] = []

    def ask(self, *statements: str) -> Any:
        self.asked += statements
        return [FIFTH] if statements == (WAITING,) else self._said


@pytest.mark.parametrize(
    ("written", "slot", "moved"),
    [(7 * SIZE, 4 * SIZE, True), (7 * SIZE, 5 * SIZE, False), (7 * SIZE, None, False), (None, 4 * SIZE, False)],
)
def test_the_slot_is_moved_on_by_the_primary_alone_and_never_back(written: int | None, slot: int | None, moved: bool) -> None:
    server = Server(written, slot)
    kept = ArchiveSlot(server)  # type: ignore[arg-type]
    kept.settle()
    advance = f"SELECT to_json(pg_replication_slot_advance('{ARCHIVE}', '0/0'::pg_lsn + {5 * SIZE})::text);"
    assert (advance in server.asked) == moved
    assert ARCHIVE in POSITIONS
    before = len(server.asked)
    kept.settle()  # it is not due again
    assert len(server.asked) == before
