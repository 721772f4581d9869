"""What must outlive the process is in one file that is always whole."""

from __future__ import annotations

from pathlib import Path

import pytest

from antiphon.adapter.terminal.journal import FILE, Journal, Kept, OpenCommand, OpenRun, Owed
from antiphon.core.ids import RunId, ThreadId, UserId
from antiphon.core.model import Said
from antiphon.errors import StateError
from antiphon.sdk.interface import ChatSettings, Run

RUN = Run(
    RunId("t.1"),
    ThreadId("thread"),
    (Said(UserId("@me:terminal"), "Hi"),),
    ChatSettings(model="m", tools=("a", "b")),
)


def test_what_was_kept_is_there_for_the_next_process(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    assert journal.kept == Kept()
    journal.change(run=OpenRun(RUN, 5), waiting=("a", "b"))
    journal.change(command=OpenCommand("c1", "!new"), owed=(Owed("forget", RUN.thread_id),))
    again = Journal(tmp_path)
    assert again.kept == journal.kept
    assert again.kept.run == OpenRun(RUN, 5)
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600
    assert [path.name for path in tmp_path.iterdir()] == [FILE]


@pytest.mark.parametrize("body", [b"", b"{", b'{"run": 5}', b"\xff"])
def test_a_damaged_file_is_refused_with_what_to_do(tmp_path: Path, body: bytes) -> None:
    (tmp_path / FILE).write_bytes(body)
    with pytest.raises(StateError, match="Delete it to begin"):
        Journal(tmp_path)
    assert (tmp_path / FILE).read_bytes() == body


def test_what_does_not_change_is_not_written(tmp_path: Path) -> None:
    journal = Journal(tmp_path)
    journal.change(run=None, waiting=())
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_can_not_be_written_is_said(tmp_path: Path) -> None:
    journal = Journal(tmp_path / FILE / "below")
    (tmp_path / FILE).write_text("a file")
    with pytest.raises(StateError, match="Can't write"):
        journal.change(waiting=("x",))
    assert journal.kept == Kept()
