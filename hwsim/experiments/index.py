"""The index of a runs folder: SQLite, always rebuilt from the folders, so that it may be lost or damaged.

``.index.sqlite`` holds a row a job folder with the stamps of the files that it was read from; a row whose stamps are
old is read anew, one whose folder is gone is dropped. Whether a job is at work is never kept: its lock tells.
"""

from __future__ import annotations

import datetime
import fnmatch
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from hwsim.cards.yamlfile import did_you_mean
from hwsim.errors import InputError, WorkError
from hwsim.experiments.kinds import KINDS, headline, read_folder, results_of
from hwsim.jobs.folder import busy, held

INDEX = ".index.sqlite"
LAYOUT = 1
"""Of the table; an index of another one is built anew."""

STAMPED = ("config.yaml", "study.yaml", "sweep.json", "receipt.json", "card.json", "summary.json", "results.json")


@dataclass(frozen=True)
class Entry:
    """A row of the index. ``started`` is UTC in ISO 8601, "" where nothing tells; ``result`` is the main figure."""

    name: str
    kind: str
    model: str
    device: str
    data: str
    started: str
    seconds: float | None
    finished: bool
    result: str
    stamp: str


def refresh(folder: Path, anew: bool = False) -> tuple[list[Entry], list[str]]:
    """Bring the index of a folder up to date; all entries, oldest first, and what has to be told of it.

    ``anew``: read every folder again. Raises InputError where there is no such folder.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; hwsim run, sweep, attack, corrupt and train write into runs/")
    notes: list[str] = []
    try:
        with _opened(folder / INDEX) as base:
            entries = _updated(base, folder, notes, anew)
    except sqlite3.DatabaseError as error:
        try:
            (folder / INDEX).unlink(missing_ok=True)
            notes = [f"{folder / INDEX}: was damaged ({error}); rebuilt from the folders"]
            with _opened(folder / INDEX) as base:
                entries = _updated(base, folder, notes, True)
        except (sqlite3.DatabaseError, OSError):  # a folder that cannot be written is listed all the same
            notes = [f"{folder / INDEX}: cannot be written; the folders were read without it"]
            with _opened(None) as base:
                entries = _updated(base, folder, notes, True)
    return sorted(entries, key=lambda entry: (entry.started, entry.name)), notes


def chosen(
    entries: Sequence[Entry],
    *,
    kind: str | None = None,
    model: str | None = None,
    device: str | None = None,
    since: str | None = None,
    until: str | None = None,
) -> list[Entry]:
    """The entries that fit; names may hold * and ?. Dates are UTC days, both included. InputError for a bad filter."""
    if kind is not None and kind not in KINDS:
        raise InputError(f"--kind: no kind {kind!r}{did_you_mean(kind, KINDS)} Known: {', '.join(KINDS)}")
    first, last = _day("--since", since), _day("--until", until)

    def fits(entry: Entry) -> bool:
        return (
            (kind is None or entry.kind == kind)
            and (model is None or fnmatch.fnmatchcase(entry.model, model))
            and (device is None or fnmatch.fnmatchcase(entry.device, device))
            and (first is None or entry.started[:10] >= first)
            and (last is None or "" < entry.started[:10] <= last)
        )

    return [entry for entry in entries if fits(entry)]


def find(folder: Path, name: str) -> Entry:
    """The entry of a name. InputError, naming the nearest, where there is none."""
    entries, _ = refresh(folder)
    # A path that completion wrote is as good as the name.
    wanted = Path(name).name if Path(name).parent in (folder, Path()) else name
    for entry in entries:
        if entry.name == wanted:
            return entry
    raise InputError(f"{folder}: no run {name!r}{did_you_mean(wanted, [entry.name for entry in entries])}")


def remove(folder: Path, names: Sequence[str]) -> None:
    """Remove runs for good. InputError where one is unknown or is being written to; then nothing is removed."""
    paths = [folder / find(folder, name).name for name in dict.fromkeys(names)]
    for path in paths:
        if path.is_symlink():
            raise InputError(f"{path}: is a link to another place; remove the link itself")
        with held(path):
            pass
    for path in paths:
        with held(path):
            aside = path.with_name(f".{path.name}.removed")
            try:
                # Renamed first, so that an interrupted removal leaves no half of a run under its name.
                path.rename(aside)
                shutil.rmtree(aside)
            except OSError as error:
                raise WorkError(f"{path}: could not be removed ({error.strerror})") from error


def state(folder: Path, entry: Entry) -> str:
    """Finished, at work, or stopped (its command goes on with it)."""
    if busy(folder / entry.name):
        return "at work"
    return "finished" if entry.finished else "stopped"


@contextmanager
def _opened(path: Path | None) -> Iterator[sqlite3.Connection]:
    with closing(sqlite3.connect(path or ":memory:", timeout=10)) as base:
        if base.execute("PRAGMA user_version").fetchone()[0] != LAYOUT:
            base.execute("DROP TABLE IF EXISTS runs")
        columns = ", ".join(field.name for field in fields(Entry))
        base.execute(f"CREATE TABLE IF NOT EXISTS runs ({columns}, PRIMARY KEY (name))")
        base.execute(f"PRAGMA user_version = {LAYOUT}")
        yield base
        base.commit()


def _updated(base: sqlite3.Connection, folder: Path, notes: list[str], anew: bool) -> list[Entry]:
    known = {} if anew else {row[0]: _entry(row) for row in base.execute("SELECT * FROM runs")}
    entries: dict[str, Entry] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_dir():
            continue
        if not any((path / name).is_file() for name in ("config.yaml", "study.yaml")):
            continue
        stamp, kept = _stamp(path), known.get(path.name)
        try:
            entries[path.name] = kept if kept is not None and kept.stamp == stamp else _read(path, stamp)
        except InputError as error:
            notes.append(f"left out, {error}")
    if entries != known or anew:
        base.execute("DELETE FROM runs")
        places = ", ".join("?" for _ in fields(Entry))
        base.executemany(f"INSERT INTO runs VALUES ({places})", [astuple(entry) for entry in entries.values()])
    return list(entries.values())


def _entry(row: tuple) -> Entry:
    entry = Entry(*row)
    return Entry(**{**vars(entry), "finished": bool(entry.finished)})


def _read(path: Path, stamp: str) -> Entry:
    job = read_folder(path)
    results = results_of(job)
    finished = results.get("points finished") == 1.0 if job.kind == "sweep" else bool(job.receipt)
    return Entry(
        name=path.name,
        kind=job.kind,
        model=job.model,
        device=job.device,
        data=job.data,
        started=str(job.receipt.get("started") or _changed(path)),
        seconds=job.receipt.get("seconds"),
        finished=finished,
        result=headline(job, results),
        stamp=stamp,
    )


def _stamp(path: Path) -> str:
    """Changes with every file that an entry is read from, and with the points of a sweep."""
    stamps = [(path / name).stat().st_mtime_ns if (path / name).is_file() else 0 for name in STAMPED]
    points = path / "points"
    return " ".join(map(str, [*stamps, points.stat().st_mtime_ns if points.is_dir() else 0]))


def _changed(path: Path) -> str:
    """When the configuration was written, of folders that do not tell when they were begun."""
    first = next(path / name for name in ("study.yaml", "config.yaml") if (path / name).is_file())
    moment = datetime.datetime.fromtimestamp(first.stat().st_mtime, datetime.UTC)
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _day(option: str, text: str | None) -> str | None:
    if text is None:
        return None
    try:
        return datetime.date.fromisoformat(text).isoformat()
    except ValueError:
        raise InputError(f"{option}: expected a day such as 2026-01-31, got {text!r}") from None
