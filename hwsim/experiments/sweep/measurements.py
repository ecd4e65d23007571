"""The kinds of cells of a study, the key of a cell and its record.

A kind of cell resolves a spec to plain values, whose hash is the cell's key, and computes its record: ``columns`` of
the table of results and, where images were judged, their ``hits``.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import time
from pathlib import Path

from hwsim import __version__
from hwsim.cards import shelf
from hwsim.cards.yamlfile import Document, did_you_mean
from hwsim.errors import InputError
from hwsim.experiments.evaluation import conditions
from hwsim.experiments.sweep.measurement import Kind, Record, column, in_situ, judged, plain, resolve, share
from hwsim.experiments.sweep.study import Spec
from hwsim.study.papercell import PAPER
from hwsim.study.robustcell import ROBUSTNESS


def kind_of(spec: Spec) -> Kind:
    """The kind that a spec names, by name or as `./file.py:name` beside its study. Raises InputError."""
    if spec.cell in KINDS:
        return KINDS[spec.cell]
    if ":" not in spec.cell:
        near = did_you_mean(spec.cell, KINDS)
        raise InputError(f"cell {spec.cell!r}: unknown kind{near} Known: {', '.join(KINDS)}, or ./file.py:name")
    kind = shelf.plugin(spec.cell, Path(spec.folder), "hwsim.measurements", Document({}, "the study's cell"), ("cell",))
    if not isinstance(kind, Kind):
        raise InputError(
            f"cell {spec.cell}: expected a hwsim.experiments.sweep.measurements.Kind, got {type(kind).__name__}"
        )
    return kind


def key_of(spec: Spec) -> str:
    """SHA-256 of all that a cell's record depends on, first 24 digits. Raises InputError for a spec that cannot be."""
    kind = kind_of(spec)
    known = dict(kind.options)
    for option in spec.options():
        if option not in known:
            near = did_you_mean(option, known)
            raise InputError(f"cell.{option}: unknown setting of {spec.cell}{near} Known: {', '.join(known) or 'none'}")
    # Defaults are left out, so that a kind may gain an option without losing what was computed.
    options = {name: value for name, value in spec.options().items() if value != known[name]}
    whole: Record = {"hwsim": __version__, "cell": spec.cell, "options": options}
    if spec.cell not in KINDS:
        whole["source"] = hashlib.sha256(Path(inspect.getfile(kind.compute)).read_bytes()).hexdigest()
    whole |= kind.resolve(spec)
    return hashlib.sha256(json.dumps(whole, sort_keys=True).encode()).hexdigest()[:24]


def compute(spec: Spec) -> Record:
    """A cell's record, with the seconds that it took."""
    started = time.perf_counter()
    record = kind_of(spec).compute(spec)
    return {**record, "seconds": time.perf_counter() - started}


def _in_situ_accuracy(spec: Spec) -> Record:
    """Train in situ, then judge clean images and those that the model card's evaluation asks for.

    Every read of the arrays, in training and in inference, is the mean of `cell.reads` reads.
    """
    found = resolve(spec)
    net, columns = in_situ(found, spec.seed, spec.options().get("reads", 1))
    hits: Record = {}
    for condition in conditions(found.model.evaluation):
        measured = judged(found, net, spec.seed, condition)
        columns[column(condition)] = share(measured)
        hits[column(condition)] = {"draws": measured.draws, "hits": measured.hits}
        if condition.name == "clean":
            columns |= {"unsettled_share": measured.unsettled_share, "noise_floor_share": measured.noise_floor_share}
    return {"columns": columns, "hits": hits}


def _resolve_in_situ(spec: Spec) -> Record:
    reads = spec.options().get("reads", 1)
    if not isinstance(reads, int) or reads < 1:
        raise InputError(f"cell.reads: expected a number of reads, at least 1, got {reads!r}")
    return plain(spec)


KINDS: dict[str, Kind] = {
    "in-situ-accuracy": Kind(_resolve_in_situ, _in_situ_accuracy, (("reads", 1),)),
    "robustness": ROBUSTNESS,
    "weights-by-protocol": PAPER,
}
