"""The measurements of studies: by name or from the study's own folder, the key of a point and its record.

A measurement resolves a spec to plain values, whose hash is the point's key, and computes its record: ``columns`` of
the table of results and, where images were evaluated, their ``hits``.
"""

from __future__ import annotations

import hashlib
import json
import time
from pathlib import Path

from hwsim import __version__
from hwsim.cards.plugins import Code, place_of, plugin, read_code
from hwsim.cards.shelf import summary_of
from hwsim.cards.yamlfile import Document, Keys, did_you_mean
from hwsim.errors import InputError, WorkError
from hwsim.experiments.evaluation import check_conditions, conditions
from hwsim.experiments.sweep.measurement import Measurement, Record, column, evaluated, in_situ, resolve
from hwsim.experiments.sweep.shipping import Parcel, arrived
from hwsim.experiments.sweep.study import Spec

KEYS: Keys = ("measurement",)


def measurement_named(name: str, folder: Path, document: Document) -> Measurement:
    """The measurement that a study names, or `./file.py:NAME` beside it. InputError, at its place in the study."""
    if name in MEASUREMENTS:
        return MEASUREMENTS[name]
    if ":" not in name:
        known = [*MEASUREMENTS, "./file.py:NAME"]
        raise document.unknown(KEYS, known, f"{name!r} is no measurement", name)
    loaded = plugin(name, folder, "hwsim.measurements", document, KEYS)
    if not isinstance(loaded, Measurement):
        wanted = "expected a hwsim.experiments.sweep.measurement.Measurement"
        raise document.error(KEYS, f"{name}: {wanted}, got {type(loaded).__name__}")
    return loaded


def measurement_of(spec: Spec) -> Measurement:
    """The measurement of a point. Raises InputError."""
    return measurement_named(spec.measurement, Path(spec.folder), _DOCUMENT)


def code_of(spec: Spec) -> Code | None:
    """The code of a measurement of the study's own; None for those of hwsim."""
    if spec.measurement in MEASUREMENTS:
        return None
    return read_code(spec.measurement, Path(spec.folder), _DOCUMENT, KEYS)


def key_of(spec: Spec) -> str:
    """SHA-256 of all that a point's record depends on, first 24 digits. Raises InputError for a spec that cannot be.

    Of the study's own code that is the measurement's file with those that it imports: a page may be rewritten and
    nothing is measured anew.
    """
    measurement = measurement_of(spec)
    known = dict(measurement.options)
    for option in spec.options():
        if option == "accelerator" and option not in known:
            raise InputError(f"--accelerator: {spec.measurement} computes on the CPU alone; leave it out")
        if option not in known:
            near = f"{did_you_mean(option, known)} Known: {', '.join(known) or 'none'}"
            raise InputError(f"measurement.{option}: unknown setting of {spec.measurement}{near}")
    # Defaults are left out, so that a measurement may gain an option without losing what was computed.
    options = {name: value for name, value in spec.options().items() if value != known[name]}
    code = code_of(spec)
    whole: Record = {"hwsim": __version__, "measurement": spec.measurement, "options": options}
    if code is not None:
        whole["source"] = code.digest
    try:
        whole |= measurement.resolve(spec)
        text = json.dumps(whole, sort_keys=True)
    except InputError:
        raise
    except (Exception, SystemExit) as error:  # anything may go wrong in somebody else's measurement
        if code is None:
            raise
        problem = f"{place_of(error, code.root)}{spec.measurement} cannot resolve the point ({summary_of(error)})"
        raise InputError(problem) from error
    return hashlib.sha256(text.encode()).hexdigest()[:24]


def compute(spec: Spec, parcel: Parcel | None = None) -> Record:
    """A point's record, with the seconds that it took. WorkError where the study's code is another than was planned.

    ``parcel``: the study's folder, for a worker on a machine that may not see it.
    """
    spec = arrived(spec, parcel) if parcel else spec
    if spec.code is not None and (code := code_of(spec)) is not None and code.digest != spec.code:
        raise WorkError("the code of the measurement changed while the sweep ran; the same command measures by the new")
    started = time.perf_counter()
    record = measurement_of(spec).compute(spec)
    if not isinstance(record, dict) or not isinstance(record.get("columns"), dict):
        raise WorkError(f"{spec.measurement}: expected a record {{'columns': {{name: value}}}}, got {record!r:.60}")
    return {**record, "seconds": time.perf_counter() - started}


def _in_situ_accuracy(spec: Spec) -> Record:
    """Train in situ, then judge clean images and those that the model card's evaluation asks for.

    Every read of the arrays, in training and in inference, is the mean of `measurement.reads` reads.
    """
    resolved = resolve(spec)
    net, columns = in_situ(resolved, spec.seed, spec.options().get("reads", 1))
    hits: Record = {}
    for condition in conditions(resolved.model.evaluation):
        measured = evaluated(resolved, net, spec.seed, condition)
        columns[column(condition)] = measured.accuracy
        hits[column(condition)] = {"draws": measured.draws, "hits": measured.hits}
        if condition.name == "clean":
            columns |= {"unsettled_share": measured.unsettled_share, "noise_floor_share": measured.noise_floor_share}
    return {"columns": columns, "hits": hits}


def _resolve_in_situ(spec: Spec) -> Record:
    reads = spec.options().get("reads", 1)
    if not isinstance(reads, int) or reads < 1:
        raise InputError(f"measurement.reads: expected a number of reads, at least 1, got {reads!r}")
    resolved = resolve(spec)
    check_conditions(resolved.model.evaluation, resolved.dataset)
    return resolved.plain(spec.seed)


MEASUREMENTS: dict[str, Measurement] = {
    "in-situ-accuracy": Measurement(_resolve_in_situ, _in_situ_accuracy, (("reads", 1),)),
}

_DOCUMENT = Document({}, "the study")
