"""Files that are never half-written: what a crash, a full disk or a kill -9 leaves behind."""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hwsim.errors import WorkError
from hwsim.jobs import store


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "summary.json"
    store.write_json(path, {"accuracy": 0.5})
    store.write_json(path, {"accuracy": 0.9, "name": "é"})
    assert json.loads(path.read_text(encoding="utf-8")) == {"accuracy": 0.9, "name": "é"}
    assert path.stat().st_mode & 0o777 == 0o644
    assert [file.name for file in path.parent.iterdir()] == ["summary.json"]


def test_a_failed_writer_leaves_the_old_file_and_nothing_beside_it(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")

    def fail_midway() -> None:
        with store.written_aside(path) as aside:
            aside.write_bytes(b"half of the n")
            raise RuntimeError("midway")

    with pytest.raises(RuntimeError, match="midway"):
        fail_midway()
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_the_old_file_stands_until_the_new_one_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "weights.bin"
    path.write_bytes(b"old")
    with store.written_aside(path) as aside:
        aside.write_bytes(b"new")
        assert path.read_bytes() == b"old"
    assert path.read_bytes() == b"new"


def test_a_full_disk_is_told_by_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "summary.json"
    store.write_text(path, "old")

    def full(descriptor: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(store.os, "fsync", full)
    with pytest.raises(WorkError, match=r"summary\.json: could not be written \(No space left on device\)"):
        store.write_text(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]
    with pytest.raises(WorkError, match=r"metrics\.jsonl: a result could not be appended \(No space left on device\)"):
        store.append_line(tmp_path / "metrics.jsonl", {"cell": 1})


def test_a_file_where_a_folder_belongs_is_told(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("a file")
    with pytest.raises(WorkError, match=r"run/summary\.json: could not be written"):
        store.write_json(tmp_path / "run" / "summary.json", {})


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_json_is_refused_before_anything_is_replaced(tmp_path: Path, value: float) -> None:
    path = tmp_path / "summary.json"
    store.write_json(path, {"accuracy": 0.5})
    with pytest.raises(ValueError, match="JSON"):
        store.write_json(path, {"accuracy": value})
    with pytest.raises(ValueError, match="JSON"):
        store.append_line(tmp_path / "metrics.jsonl", {"accuracy": value})
    assert json.loads(path.read_text()) == {"accuracy": 0.5}
    assert store.read_lines(tmp_path / "metrics.jsonl") == []


def test_lines_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    assert store.read_lines(path) == []
    records = [{"cell": number, "name": "mülti\nline"} for number in range(5)]
    for record in records:
        store.append_line(path, record)
    assert store.read_lines(path) == records


@pytest.mark.parametrize("torn", [b'{"cell": 2, "accur', b'{"cell": 2}', b"\xff\xfe", b"[1, 2]\n"])
def test_a_torn_line_neither_counts_nor_swallows_the_next(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "metrics.jsonl"
    store.append_line(path, {"cell": 1})
    path.write_bytes(path.read_bytes() + torn)
    store.append_line(path, {"cell": 3})
    whole = [{"cell": 2}] if torn == b'{"cell": 2}' else []
    assert store.read_lines(path) == [{"cell": 1}, *whole, {"cell": 3}]


WRITER = """
import sys
from pathlib import Path
from hwsim.jobs import store
folder = Path(sys.argv[1])
for number in range(10**9):
    store.write_text(folder / "summary.json", str(number) * 200_000)
    store.append_line(folder / "metrics.jsonl", {"number": number, "text": "x" * 20_000})
"""


def test_kill_9_leaves_whole_files(tmp_path: Path) -> None:
    metrics = tmp_path / "metrics.jsonl"
    for delay_s in (0.0, 0.013, 0.029):
        before = len(store.read_lines(metrics))
        process = subprocess.Popen([sys.executable, "-c", WRITER, str(tmp_path)])
        deadline = time.monotonic() + 60
        while len(store.read_lines(metrics)) < before + 3 and time.monotonic() < deadline:
            time.sleep(0.005)
        time.sleep(delay_s)
        process.send_signal(signal.SIGKILL)
        process.wait()
        text = (tmp_path / "summary.json").read_text()
        number = text[: len(text) // 200_000]
        assert text == number * 200_000
        records = store.read_lines(metrics)
        assert len(records) >= before + 3
        assert all(len(record["text"]) == 20_000 for record in records)
        resumed = [record["number"] for record in records[before:]]
        assert resumed == list(range(len(resumed)))
