"""From a CSV of measured pulses to a device folder: the fit, its YAML, its card and its figure."""

from __future__ import annotations

import html
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from hwsim.cards.yamlfile import did_you_mean, to_yaml
from hwsim.characterisation.fit_figure import write_fit_figure
from hwsim.characterisation.traces import Measured, Reading, read_traces
from hwsim.devices.fitting.estimate import Estimate, Fits, fit_traces
from hwsim.devices.fitting.merit import cautions_of, figures_with_errors, symmetry_of
from hwsim.devices.fitting.predictive import MOST_RMS, WORST_RMS
from hwsim.devices.fitting.responses import RESPONSES
from hwsim.errors import InputError
from hwsim.jobs.store import write_text, written_aside

# The periphery is not in the traces: converters and noise as on the shelf's other cells.
PERIPHERY = {"inp_bound": 1.0, "inp_res": "7bit", "out_bound": 12.0, "out_res": "9bit", "out_noise": 0.1}
OMEGA = 0.4
MERIT_NAMES = {
    "states": "states (range over the step in the middle)",
    "asymmetry": "asymmetry in the middle, (up - down)/(up + down)",
    "asymmetry_mean": "mean size of the asymmetry over the range",
    "symmetry_point": "symmetry point",
    "snr_pulse": "signal-to-noise of a pulse (step over its spread)",
    "snr_read": "signal-to-noise of a pulse as read (step over the noise of two reads)",
}


@dataclass(frozen=True)
class FitResult:
    """A fitted device and its files.

    Args:
        fits: every response that was fitted; ``fits.best`` was chosen.
        measured: the data.
        merit: figures of merit with errors, see ``MERIT_NAMES``; the symmetry point in the data's unit.
        warnings: of the data and of the fit, one sentence each.
        card, readme, svg, png, csv: what was written.
    """

    fits: Fits
    measured: Measured
    merit: tuple[Estimate, ...]
    warnings: tuple[str, ...]
    card: Path
    readme: Path
    svg: Path
    png: Path
    csv: Path

    def lines(self) -> list[str]:
        """What the command line prints."""
        best = self.fits.best
        lines = [self.verdict, f"{best.response}: {self.fits.reason}"]
        lines += [f"  {e.name:<22} {_with_error(e)}" for e in best.estimates]
        lines += [f"{MERIT_NAMES[e.name]}: {self.merit_text(e)}" for e in self.merit]
        lines += [f"caution: {warning}" for warning in self.warnings]
        return [*lines, f"wrote {self.card}, {self.readme.name}, {self.svg.name}, {self.png.name}, {self.csv.name}"]

    @property
    def passed(self) -> bool:
        """Does the fitted cell, running free, do what the devices did?"""
        return self.fits.best.predictive.passed

    @property
    def verdict(self) -> str:
        """The outcome of the predictive check, one line."""
        predictive = self.fits.best.predictive
        if predictive.passed:
            how = "check passed" if predictive.rms <= MOST_RMS else "check passed by the noise of the cell alone"
            return f"{how}: {predictive}"
        why = (
            "the fit does not follow the data"
            if not predictive.follows
            else "the fitted cell is far noisier than the data"
        )
        return f"CHECK FAILED, {why}: {predictive}"

    def merit_text(self, estimate: Estimate) -> str:
        """A figure of merit as text; of a symmetry point also which way pulses lead."""
        if estimate.name == "symmetry_point" and math.isnan(estimate.value):
            return str(symmetry_of(self.fits.best.cell).scaled(self.fits.middle, self.fits.half))
        return _with_error(estimate)


def fit_device(
    files: Path | Sequence[Path],
    out: Path,
    reading: Reading | None = None,
    response: str | None = None,
    overwrite: bool = False,
) -> FitResult:
    """Fit a device to measured pulses and write ``out``: rpu-config.yaml, README.md, fit.svg, fit.png, traces.csv.

    Args:
        files: see ``traces.read_traces``.
        out: folder of the new device.
        reading: what the files do not say themselves.
        response: fit only this one; None: fit all and choose.
        overwrite: replace a device that is there already.

    Raises InputError for data that cannot be fitted, an unknown response, or a folder that holds a device.
    """
    if response is not None and response not in RESPONSES:
        raise InputError(
            f"response {response!r}: unknown{did_you_mean(response, RESPONSES)} Known: {', '.join(RESPONSES)}"
        )
    card = out / "rpu-config.yaml"
    if card.exists() and not overwrite:
        raise InputError(f"{card}: exists; give another folder, or allow overwriting")
    files = [files] if isinstance(files, Path) else list(files)
    measured = read_traces(files, reading)
    # A file that says everything itself is kept as it is; else what was understood is.
    asis = len(files) == 1 and measured.files[0][0].sheet is None and reading in (None, Reading())
    content = files[0].read_bytes() if asis else measured.long_form().encode()
    fits = fit_traces(measured.traces, [response] if response else tuple(RESPONSES))
    merit = tuple(_in_unit(e, fits) if e.name == "symmetry_point" else e for e in figures_with_errors(fits.best))
    warnings = (*measured.warnings, *cautions_of(fits, measured.traces))
    svg, png = write_fit_figure(fits, measured, out)
    result = FitResult(fits, measured, merit, warnings, card, out / "README.md", svg, png, out / "traces.csv")
    with written_aside(result.csv) as aside:
        aside.write_bytes(content)
    write_text(result.readme, _readme(result, out.resolve().name))
    write_text(card, _yaml(result, out.resolve().name, ", ".join(path.name for path in files)))
    return result


def _in_unit(estimate: Estimate, fits: Fits) -> Estimate:
    return Estimate(estimate.name, fits.middle + fits.half * estimate.value, fits.half * estimate.std)


def _yaml(result: FitResult, name: str, source: str) -> str:
    fits, unit = result.fits, result.measured.unit
    cell = fits.best.cell
    parameters: dict[str, Any] = {}
    errors = {estimate.name: estimate for estimate in fits.best.estimates}
    for field in fields(cell):
        value = getattr(cell, field.name)
        if value != field.default or field.name in errors:
            parameters[field.name] = [_rounded(v) for v in value] if isinstance(value, tuple) else _rounded(value)
    card: dict[str, Any] = {
        "name": name,
        "summary": f"{fits.best.response.capitalize()} cell fitted to {_counted(result)}",
        "source": f"fitted to {source} by hwsim device fit",
        "cell": fits.best.response,
        "parameters": parameters,
        "forward": PERIPHERY,
        "mapping": {"omega": OMEGA},
    }
    low, high = (fits.middle + fits.half * float(bound) for bound in cell.bounds())
    head = [
        *(f"# The data say: {''.join(filter(str.isprintable, remark))}" for remark in result.measured.remarks),
        f"# Conductance = {fits.middle:.6g} + {fits.half:.6g} g, in {_unit(unit)}; g is the cell's, weight 0 is g = 0.",
        f"# g_min = {low:.6g}, g_max = {high:.6g} (mean bounds of the devices).",
        *(f"# Caution: {''.join(filter(str.isprintable, warning))}." for warning in result.warnings),
    ]
    if not result.passed:
        head.insert(0, f"# {result.verdict}.")
    text = "\n".join(head) + "\n\n" + to_yaml(card)
    comment = (
        "# As on other shelf devices, not measured: 7-bit DAC, 9-bit ADC, output noise; the transpose read alike.\n"
    )
    text = text.replace("\nforward:", f"\n{comment}forward:", 1)
    comment = "# The largest weight of an array is written as this conductance; not measured.\n"
    return text.replace("\nmapping:", f"\n{comment}mapping:", 1)


def _readme(result: FitResult, name: str) -> str:
    fits = result.fits
    unit = _unit(result.measured.unit)
    lines = [
        f"# {name}: fitted to measured pulses",
        "",
        *([f"**{result.verdict}.**", ""] if not result.passed else []),
        f"Cell `{fits.best.response}`, fitted by maximum likelihood to {_counted(result)} in `traces.csv`.",
        f"Conductance = {fits.middle:.5g} + {fits.half:.5g} g, in {unit}; parameters are in units of g.",
        "",
        *(f"> {_literally(remark)}\n" for remark in result.measured.remarks),
        "![Data and fit](fit.png)",
        "",
        f"{result.verdict[0].upper()}{result.verdict[1:]}. A fit passes where a free run is off by at most "
        f"{MOST_RMS:.0%} of the range, or by no more than the noise that it has; by more than {WORST_RMS:.0%}, never.",
        "",
        "| parameter | value | standard error |",
        "|---|---|---|",
        *(f"| `{e.name}` | {_short(e.value)} | {_short(e.std)} |" for e in fits.best.estimates),
        "",
        f"| figure of merit | value | standard error |\n|---|---|---|\n{_merit_rows(result, unit)}",
        "",
        "## Which response",
        "",
        f"{fits.reason[0].upper()}{fits.reason[1:]}. One held-out block is a {fits.held_out_by}.",
        "",
        *_choice_rows(fits),
        "",
        "## Before trusting it",
        "",
        *(f"- {_literally(warning[0].upper() + warning[1:])}." for warning in result.warnings),
        "- What differs between two reads of one state and what a pulse changes are told apart by their correlation;",
        "  one read a pulse cannot tell noise of a read from noise of a write that the next pulse undoes.",
        "- Converters, output noise and the map from weights are not in the traces; those in the YAML are the shelf's.",
        "- Retention was not measured: the cell neither leaks nor drifts.",
    ]
    if result.measured.stuck:
        lines.append(f"- {result.measured.stuck:.1%} of the devices never changed; the cell has no stuck devices.")
    return "\n".join(lines) + "\n"


def _literally(text: str) -> str:
    """Text of a file of others as Markdown that shows it and does nothing else."""
    return re.sub(r"([\\`*\[\]|~])", r"\\\1", html.escape("".join(filter(str.isprintable, text)), quote=False))


def _choice_rows(fits: Fits) -> list[str]:
    head = ("response", "free parameters", "log-likelihood, nats", "held out, nats", "free run off", "in band", "check")
    rows = [head, ("---",) * len(head)]
    for fit in fits.fits:
        predictive = fit.predictive
        likelihoods = f"{fit.log_likelihood:.1f}", f"{fit.held_out.sum():.1f}"
        free_run = f"{predictive.rms:.1%}", f"{predictive.inside:.0%}", "ok" if predictive.passed else "FAILED"
        rows.append((fit.response, str(fit.parameters), *likelihoods, *free_run))
    return [f"| {' | '.join(row)} |" for row in rows]


def _merit_rows(result: FitResult, unit: str) -> str:
    rows = []
    for e in result.merit:
        name = MERIT_NAMES[e.name] + (f", {unit}" if e.name == "symmetry_point" else "")
        value = result.merit_text(e) if math.isnan(e.value) else _short(e.value)
        rows.append(f"| {name} | {value} | {_short(e.std)} |")
    return "\n".join(rows)


def _counted(result: FitResult) -> str:
    traces = result.measured.traces
    pulses = int(((traces.direction != 0) & (traces.weight > 0)).sum())
    devices = traces.devices
    return f"{pulses:,} pulses on {devices} device{'s' if devices > 1 else ''}"


def _unit(unit: str) -> str:
    return "the data's own unit" if unit == "arbitrary" else "µS"


def _rounded(value: float) -> float:
    """Six digits: more than any measurement gives, and short enough to read."""
    return float(f"{value:.6g}")


def _short(value: float) -> str:
    if math.isinf(value):
        return "no noise"
    return "none" if math.isnan(value) else f"{value:.4g}"


def _with_error(estimate: Estimate) -> str:
    error = "" if not np.isfinite(estimate.std) else f" ± {estimate.std:.2g}"
    return f"{_short(estimate.value)}{error}"
