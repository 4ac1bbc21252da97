"""Completions are counted by files that processes share: none is lost, none is counted twice."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.recording import FOLDER, RECORD, Reader, Recorder, now

ROOT = Path(__file__).parents[2]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Reader]:
    reader = Reader(tmp_path)
    yield reader
    reader.close()


def test_what_is_recorded_is_read_with_its_times(tmp_path: Path, reader: Reader) -> None:
    recorder, begun = Recorder(tmp_path, capacity=10), now()
    recorder.record(begun)
    assert reader.look() == 1
    assert reader.records[0][0] == begun
    assert begun <= reader.records[0][1] <= now()


def test_a_look_reads_only_what_is_new(tmp_path: Path, reader: Reader) -> None:
    recorder = Recorder(tmp_path, capacity=10)
    for count in range(1, 4):
        recorder.record(count)
        assert reader.look() == count
    assert [begun for begun, _ in reader.records] == [1, 2, 3]


@pytest.mark.parametrize("half", [(1, 0), (0, 1)])
def test_a_record_that_is_being_written_is_left_for_the_next_look(
    tmp_path: Path, reader: Reader, half: tuple[int, int]
) -> None:
    file = tmp_path / "1.records"
    file.write_bytes(RECORD.pack(1, 1) + RECORD.pack(*half))
    assert reader.look() == 1
    with file.open("r+b") as writing:
        writing.write(RECORD.pack(1, 1) * 2)
    assert reader.look() == 2


def test_threads_do_not_write_over_each_other(tmp_path: Path, reader: Reader) -> None:
    recorder = Recorder(tmp_path, capacity=8 * 500)

    def record() -> None:
        for _ in range(500):
            recorder.record(1)

    threads = [threading.Thread(target=record) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert reader.look() == 8 * 500


def test_a_full_file_is_an_error_and_not_a_lost_count(tmp_path: Path, reader: Reader) -> None:
    recorder = Recorder(tmp_path, capacity=2)
    recorder.record(1)
    recorder.record(1)
    with pytest.raises(struct.error):
        recorder.record(1)
    assert reader.look() == 2


def test_forked_children_have_files_of_their_own(tmp_path: Path, reader: Reader) -> None:
    code = "import os\nfrom bench.work import noop\nnoop()\nif os.fork():\n    os.wait()\nnoop()\n"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), FOLDER: str(tmp_path)}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True, timeout=60)
    assert reader.look() == 3
    assert len(list(tmp_path.iterdir())) == 2
