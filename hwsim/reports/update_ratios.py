"""Pulses sent for each that counts, epoch by epoch."""

from __future__ import annotations

import numpy as np
from matplotlib.ticker import MaxNLocator, NullFormatter

from hwsim.experiments.device_run.results import Run
from hwsim.experiments.update_quality import MOST_PULSES
from hwsim.reports.plotting import COLOURS, DASHES, Figure, panels


def update_ratios(run: Run) -> Figure | None:
    """A line for each array that pulses move; None where no epoch was measured."""
    measured = [record for record in run.training if record.rho and any(r is not None for r in record.rho)]
    if not measured:
        return None
    canvas, (ax,) = panels(1, 1, 3.0)
    words, ends = [], []
    arrays = [i for i, rho in enumerate(measured[0].rho or []) if rho is not None]
    epochs = sorted({record.epoch for record in measured})
    for place, array in enumerate(arrays):
        name = f"layer{place}.weight"
        own = [[r.rho[array] for r in measured if r.epoch == epoch and r.rho and r.rho[array]] for epoch in epochs]
        kept = [(epoch, [float(x) for x in values if x]) for epoch, values in zip(epochs, own, strict=True) if values]
        if not kept:
            continue
        at, means = [epoch for epoch, _ in kept], [float(np.mean(values)) for _, values in kept]
        colour = COLOURS[place % len(COLOURS)]
        low, high = [min(v) for _, v in kept], [max(v) for _, v in kept]
        ax.fill_between(at, low, high, color=colour, alpha=0.14, linewidth=0)
        ax.plot(at, means, color=colour, linestyle=DASHES[place % len(DASHES)], marker="o", markersize=3, label=name)
        words.append(f"{name}: {means[0]:.3g} in epoch {at[0]}, {means[-1]:.3g} in {at[-1]}.")
        ends.append(f"{name} {means[-1]:.3g}")
    ax.axhline(MOST_PULSES, color="#777777", linewidth=1, linestyle=":")
    ax.set(title="Pulses sent for each that counts", xlabel="epoch", ylabel="ratio (log)", yscale="log")
    ax.xaxis.set_major_locator(MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter("{x:g}")
    ax.yaxis.set_minor_formatter("{x:g}" if ax.get_ylim()[1] < 20 * ax.get_ylim()[0] else NullFormatter())
    ax.legend(fontsize=8)
    caption = (
        "Of the in-situ trainings, measured after every epoch on a copy that learns two batches: pulses at a "
        "cross-point over those that the exact update of the same images is worth. Bands span the repeats. Above the "
        f"dotted line ({MOST_PULSES:g}) asymmetry outweighs what is learned. Arrays without pulses have no line."
    )
    return Figure("ratios", f"Update traffic at the end: {', '.join(ends)}", caption, words, canvas)
