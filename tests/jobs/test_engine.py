"""The one loop of all jobs: what is finished is not done again, what was torn is, and the receipt is of the work."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml

from hwsim import __version__
from hwsim.errors import InputError
from hwsim.jobs import store
from hwsim.jobs.engine import Log, working
from hwsim.jobs.job import Job
from hwsim.jobs.records import Record, plain, read_file, read_log, read_records, write_file


@dataclass(frozen=True, kw_only=True)
class Point(Record):
    kind: Literal["point"] = "point"
    at: int
    value: float
    note: str | None = None

    @property
    def key(self) -> tuple[Hashable, ...]:
        return self.kind, self.at


@dataclass(frozen=True, kw_only=True)
class Remark(Record):
    kind: Literal["remark"] = "remark"
    words: list[str]

    @property
    def key(self) -> tuple[Hashable, ...]:
        return (self.kind,)


@dataclass(frozen=True, kw_only=True)
class Counting(Job):
    kind = "count"
    upto: int

    @property
    def resolved(self) -> dict[str, Any]:
        return {"upto": self.upto, "device": self.resolved_device, "seed": self.seed}

    @property
    def label(self) -> str:
        return f"count-{self.upto}"


@dataclass(frozen=True)
class Whole:
    name: str
    points: list[Point]
    rest: float | None = None


def job(folder: Path | None, upto: int = 3) -> Counting:
    return Counting(device=None, seed=0, upto=upto, out=folder, command="hwsim count")


def count(job: Counting, measured: list[int], stop: int = 100) -> None:
    def measure(at: int) -> Point:
        if at == stop:
            raise KeyboardInterrupt
        measured.append(at)
        return Point(at=at, value=at / 3)

    with working(job, Point, Remark, repeats=[0]) as log:
        for at in range(job.upto):
            log.once(("point", at), lambda at=at: measure(at))


def test_a_job_goes_on_where_it_was_and_a_finished_one_does_nothing(tmp_path: Path) -> None:
    measured: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        count(job(tmp_path), measured, stop=2)
    assert not (tmp_path / "receipt.json").exists()
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"kind": "point", "at": 2, "val')  # torn by a crash
    count(job(tmp_path), measured)
    assert measured == [0, 1, 2]
    assert [point.at for point in read_records(tmp_path / "metrics.jsonl", Point)] == [0, 1, 2]
    receipt = (tmp_path / "receipt.json").read_text()
    count(job(tmp_path), measured)
    assert measured == [0, 1, 2]
    assert (tmp_path / "receipt.json").read_text() == receipt


def test_a_folder_says_what_wrote_it_and_is_of_one_job(tmp_path: Path) -> None:
    first = job(tmp_path)
    count(first, [])
    config = yaml.safe_load((tmp_path / "config.yaml").read_text())
    assert list(config)[:3] == ["kind", "hwsim", "config_hash"]
    assert (config["kind"], config["hwsim"], config["config_hash"]) == ("count", __version__, first.config_hash)
    with pytest.raises(InputError, match="holds a job of another configuration"):
        count(job(tmp_path, 4), [])


def test_a_job_has_its_folder_from_the_start() -> None:
    assert job(Path("here")).folder == Path("here")
    unnamed = job(None)
    assert unnamed.folder == Path("runs") / f"count-3-{unnamed.config_hash[:8]}"
    assert job(None, 4).folder != unnamed.folder


def test_the_last_record_of_a_key_counts_and_strange_lines_do_not(tmp_path: Path) -> None:
    path = tmp_path / "log.jsonl"
    log: Log[Any] = Log(path, Point, Remark)
    log.add(Point(at=1, value=0.5))
    log.add(Remark(words=["a"]))
    log.add(Point(at=1, value=0.75))
    with path.open("a") as file:
        file.write('{"kind": "point", "at": 1, "value": "many"}\n{"kind": "of a later version"}\n')
    again = list(Log(path, Point, Remark))
    assert again == [Point(at=1, value=0.75), Remark(words=["a"])]
    assert read_records(path, Remark, Point) == again
    assert path.read_text().count('"point"') == 1, "each record stands once"
    assert "of a later version" in path.read_text(), "what is not understood is kept"


def test_a_damaged_log_is_kept_aside_and_what_is_whole_is_used(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    measured: list[int] = []
    count(job(tmp_path), measured)
    path = tmp_path / "metrics.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    damaged = b"".join([lines[0], b"\xff\x00\x8f" * 40 + b"\n", b'{"kind": "point", "at": [1]}\n', lines[2]])
    path.write_bytes(damaged)
    assert [point.at for point in read_records(path, Point)] == [0, 2]
    assert "2 of 4 lines cannot be read (lines 2, 3); what is whole is used" in caplog.text
    assert path.read_bytes() == damaged, "who only reads changes nothing"
    count(job(tmp_path), measured)
    assert measured == [0, 1, 2, 1]
    assert "it is kept as metrics.jsonl.damaged, and what is missing is done again" in caplog.text
    assert (tmp_path / "metrics.jsonl.damaged").read_bytes() == damaged
    assert sorted(point.at for point in read_log(path, Point).records) == [0, 1, 2]
    assert read_log(path, Point).damaged == []
    path.write_bytes(b"\0" * 100)
    count(job(tmp_path), measured)
    assert (tmp_path / "metrics.jsonl.damaged1").exists(), "the first one stays"


def test_what_a_process_that_is_gone_was_writing_is_removed_and_what_one_is_at_stays(tmp_path: Path) -> None:
    (tmp_path / "figures").mkdir()
    (tmp_path / "figures" / ".a.svg.xyz.part").write_bytes(b"half")
    with store.written_aside(tmp_path / "b.json") as aside:
        count(job(tmp_path), [])
        assert aside.exists()
        aside.write_text("{}")
    assert not list(tmp_path.rglob("*.part"))
    assert (tmp_path / "b.json").read_text() == "{}"


def test_another_configuration_is_told_by_the_keys_that_differ(tmp_path: Path) -> None:
    count(job(tmp_path), [])
    with pytest.raises(InputError, match=r"holds a job of another configuration \(upto is 3 there and 4 here\)"):
        count(job(tmp_path, 4), [])


def test_values_that_are_none_by_default_are_left_out_of_json() -> None:
    assert plain(Point(at=1, value=0.5)) == {"seconds": 0.0, "kind": "point", "at": 1, "value": 0.5}
    assert list(Point(at=1, value=0.5, note="x").plain()) == ["kind", "at", "value", "note", "seconds"]


def test_a_file_is_read_as_it_was_written_and_a_damaged_one_refused(tmp_path: Path) -> None:
    path, whole = tmp_path / "whole.json", Whole("a", [Point(at=0, value=1.0, note="n")])
    assert read_file(path, Whole) is None
    write_file(path, whole)
    assert read_file(path, Whole) == whole
    path.write_text('{"name": "a", "points": [{"at": 0}]}')
    with pytest.raises(InputError, match=r"whole\.json: points\.0\.value: Field required"):
        read_file(path, Whole)
    path.write_text('{"name": ')
    with pytest.raises(InputError, match=r"whole\.json: not valid JSON"):
        read_file(path, Whole)
