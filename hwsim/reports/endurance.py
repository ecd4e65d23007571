"""How often devices were written to: a histogram of a pulse log, and the most-written device, which is endurance."""

from __future__ import annotations

import numpy as np

from hwsim.reports.arrays import Arrays
from hwsim.reports.plotting import COLOURS, PERCENT, Figure, panels


def endurance(arrays: Arrays) -> Figure | None:
    """A histogram for each array and the device of each that was sent most pulses; None where nothing was logged.

    ``arrays``: of a run's cases, matrices of pulses a cross-point.
    """
    logs = [(case, name, pulses) for case, tensors in arrays.items() for name, pulses in tensors.items()]
    if not logs:
        return None
    canvas, axes = panels(len(logs), 2, 2.5)
    words = []
    for ax, (case, name, pulses), colour in zip(axes, logs, COLOURS * len(logs), strict=False):
        edges = np.linspace(0, max(float(pulses.max()), 1.0), 41)
        ax.stairs(np.histogram(pulses.ravel(), edges)[0] / pulses.size, edges, color=colour, fill=True, alpha=0.4)
        row, column = np.unravel_index(int(pulses.argmax()), pulses.shape)
        most = float(pulses.max())
        ax.axvline(most, color="black", linewidth=1, linestyle=":")
        layer, _, part = name.partition(".")
        twin = part.removeprefix("pulses").strip(".")
        ax.set(title=f"{case}, {layer}{' ' + twin if twin else ''}", xlabel="pulses sent to a device")
        ax.yaxis.set_major_formatter(PERCENT)
        words.append(
            f"{case}, {name}: most written is row {row}, column {column}, with {most:,.0f} pulses; "
            f"mean {pulses.mean():,.0f}, median {np.median(pulses):,.0f}."
        )
    for ax in axes[::2]:
        ax.set_ylabel("share of devices")
    case, name, pulses = max(logs, key=lambda log: float(log[2].max()))
    title = (
        f"Endurance: the most-written device got {float(pulses.max()):,.0f} pulses ({name.partition('.')[0]}, {case})"
    )
    caption = (
        "Pulses that the updates of the first repeat's training sent to each device, up and down alike; of stochastic "
        "trains the expected ones. Programming is not among them, and neither are transfers inside a compound."
    )
    return Figure("endurance", title, caption, words, canvas)
