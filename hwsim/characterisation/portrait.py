"""`device plot` and `device diff`: what any device does, seen through its Synapse face, and how two cards differ."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.axes import Axes
from torch import Tensor

from hwsim.characterisation.fit_figure import PNG_DPI
from hwsim.crossbar.synapse import Device, KnownAges, Synapse
from hwsim.crossbar.wrapped import innermost_device
from hwsim.devices.symmetry import SymmetryPoint, symmetry_point
from hwsim.errors import InputError
from hwsim.reports.plotting import COLOURS, DASHES, STYLE, panels, write_canvas
from hwsim.rng import Streams

ROWS, COLUMNS = 24, 32
READS = 64
LEVELS = np.linspace(-1, 1, 8)
SECONDS = tuple(10.0**k for k in range(8))
"""Ages at which retention is drawn, where a device is known at every age."""
UP, DOWN = COLOURS[0], COLOURS[1]


@dataclass(frozen=True)
class Response:
    """Weights of every cross-point of an array under an up train and a down train of equal updates.

    Args:
        up, down: (N + 1, post, pre) weights before the first and after each update.
        size: the update asked for, in weight: rate x pre x post.
    """

    up: Tensor
    down: Tensor
    size: float


@dataclass(frozen=True)
class Portrait:
    """What ``portray`` found; None where the device has no such property. Weights are in units of the largest written.

    Args:
        response: see there; None for devices that are not written in situ.
        level: (n,) programmed weights.
        noise: (2, n) standard deviation of the read of one cross-point, forward and transpose.
        retention: (2, len(seconds), n) mean and standard deviation of the weights.
        seconds: ages behind ``retention``, since programming.
        drawn: (post, pre) weights after the same updates, or programming, everywhere: what differs is the devices.
    """

    response: Response | None
    level: np.ndarray
    noise: np.ndarray
    retention: np.ndarray | None
    drawn: np.ndarray
    seconds: tuple[float, ...] = SECONDS


def portray(device: Device, seed: int = 0, updates: int = 200) -> Portrait:
    """Write, read and age small arrays of a device.

    ``updates``: length of the up and of the down train; their size is chosen so that a train spans the range.
    """
    if updates < 20:
        raise InputError(f"device plot: expected 20 or more updates, got {updates}")
    streams = Streams(seed)
    with torch.no_grad():
        response = _pulse_response(device, streams, updates) if device.trains == "in-situ" else None
        seconds = inner.ages_s if isinstance(inner := innermost_device(device), KnownAges) else ()
        seconds = seconds or SECONDS
        noise = _noise(device, streams)
        retention = _retention(device, streams, seconds) if device.drifts else None
        return Portrait(response, LEVELS, noise, retention, _written_alike(device, streams, response), seconds)


def write_device_figure(portrait: Portrait, name: str, folder: Path, dpi: int = PNG_DPI) -> tuple[Path, Path]:
    """Draw ``device.svg`` and ``device.png`` into ``folder``; ``dpi`` is the latter's."""
    drawn = [(_draw_noise, portrait), (_draw_map, portrait)]
    if portrait.retention is not None:
        drawn.insert(1, (_draw_retention, portrait))
    if portrait.response is not None:
        drawn = [(_draw_response, portrait.response), (_draw_steps, portrait.response), *drawn]
    with matplotlib.rc_context(STYLE):
        canvas, axes = panels(len(drawn), 2, 2.8)
        for ax, (draw, what) in zip(axes, drawn, strict=True):
            draw(ax, what)
        canvas.suptitle(name, fontsize=11, fontweight="bold")
        return write_canvas(canvas, folder / "device", dpi)


def steps_by_level(response: Response, up: bool, windows: int = 16) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(n,) mean weight of the array, mean step over the update asked for, its spread between cross-points.

    Steps are slopes over windows of the train: single steps, sorted by the weight they start at, would show noise of
    the weights as steps back to the mean. Updates that a bound cuts short are left out, and so are windows that fewer
    than half of the cross-points pass uncut.
    """
    train = _uncut((response.up if up else response.down).double().flatten(1).numpy())
    length = int(np.median(np.isfinite(train).sum(0)))
    steps = []
    for window in np.array_split(np.arange(length), max(1, min(windows, length // 4))):
        values = train[window]
        values = values[:, np.isfinite(values).all(0)]
        if len(window) < 2 or 2 * values.shape[1] < train.shape[1]:
            continue
        time = window - window.mean()
        slope = time @ values / (time @ time) / response.size
        steps.append((values.mean(), slope.mean(), slope.std()))
    place, mean, spread = np.array(steps).reshape(-1, 3).T
    return place, mean, spread


def _uncut(train: np.ndarray) -> np.ndarray:
    """(N + 1, cross-points) weights, NaN from the update on that a bound cuts short.

    At a bound the outermost weight of a train is reached more than once, to the bit.
    """
    outermost = np.where(train[-1] >= train[0], train.max(0), train.min(0))
    there = train == outermost
    first = np.where((there.sum(0) > 1) & ~there[0], there.argmax(0), len(train))
    return np.where(np.arange(len(train))[:, None] < first, train, np.nan)


def symmetry_of(response: Response) -> SymmetryPoint:
    """Where alternating updates lead the array, by its mean steps where both trains show them uncut."""
    (x_up, up, _), (x_down, down, _) = steps_by_level(response, True), steps_by_level(response, False)
    x_down, down = x_down[::-1], down[::-1]
    if len(x_up) < 2 or len(x_down) < 2:
        return SymmetryPoint()
    low, high = max(x_up[0], x_down[0]), min(x_up[-1], x_down[-1])
    if not low < high:
        return SymmetryPoint()
    grid = np.linspace(low, high, 401)
    return symmetry_point(grid, np.interp(grid, x_up, up), np.interp(grid, x_down, down))


def _pulse_response(device: Device, streams: Streams, updates: int) -> Response:
    """Train up, then down, by updates that carry the array over its range; their size is found by trying."""
    pre, post = torch.ones(1, COLUMNS), torch.ones(1, ROWS)
    size = 2.0 / updates
    trains: list[Tensor] = []
    for attempt in range(6):
        synapse = device.synapse(ROWS, COLUMNS, streams.child("response", attempt))
        trains = [_train(synapse, pre, sign * post, size, updates) for sign in (1, -1, 1, -1)]
        spread = (trains[1][-1] - trains[1][0]).abs().mean()
        settled = (trains[1][-1] - trains[1][-max(2, updates // 5)]).abs().mean() < 0.1 * spread
        if settled or device.ideal:
            break
        size *= 2
    return Response(trains[2], trains[3], size)


def _train(synapse: Synapse, pre: Tensor, post: Tensor, size: float, updates: int) -> Tensor:
    weights = [synapse.weight()]
    for _ in range(updates):
        synapse.update(pre, post, size)
        weights.append(synapse.weight())
    return torch.stack(weights)


def _programmed(device: Device, streams: Streams) -> tuple[Any, np.ndarray]:
    """An array whose columns hold ``LEVELS`` in turn, and the level that each column has."""
    held = np.arange(COLUMNS) % len(LEVELS)
    synapse = device.synapse(ROWS, COLUMNS, streams)
    synapse.program(torch.tensor(LEVELS[held], dtype=torch.float32).expand(ROWS, COLUMNS))
    return synapse, held


def _noise(device: Device, streams: Streams) -> np.ndarray:
    """(2, n) standard deviation over repeated reads of single cross-points, forward and transpose."""
    synapse, held = _programmed(device, streams.child("noise"))
    noise = np.zeros((2, len(LEVELS)))
    for i in range(len(LEVELS)):
        column = torch.zeros(READS, COLUMNS)
        column[:, i] = 1.0
        noise[0, i] = float(synapse.read(column).var(0).mean().sqrt())
    row = torch.zeros(READS * 4, ROWS)
    row[:, 0] = 1.0
    variance = synapse.read_transpose(row).var(0).numpy()
    noise[1] = [np.sqrt(variance[held == i].mean()) for i in range(len(LEVELS))]
    return noise


def _retention(device: Device, streams: Streams, ages: tuple[float, ...]) -> np.ndarray:
    """(2, len(ages), n) mean weights and their standard deviations."""
    synapse, held = _programmed(device, streams.child("retention"))
    weights = np.zeros((2, len(ages), len(LEVELS)))
    for k, seconds in enumerate(ages):
        synapse.age(seconds)
        weight = synapse.weight().numpy()
        for i in range(len(LEVELS)):
            own = weight[:, held == i]
            weights[:, k, i] = own.mean(), own.std()
    return weights


def _written_alike(device: Device, streams: Streams, response: Response | None) -> np.ndarray:
    """Weights written to the same by updates, where that is how the device is written, else by programming."""
    synapse = device.synapse(ROWS, COLUMNS, streams.child("map"))
    if response is None:
        synapse.program(torch.full((ROWS, COLUMNS), 1.0))
        return synapse.weight().numpy()
    moving = np.isfinite(_uncut(response.up.double().flatten(1).numpy())).sum(0)
    for _ in range(int(np.median(moving)) // 4):  # from weight 0, so that few reach a bound
        synapse.update(torch.ones(1, COLUMNS), torch.ones(1, ROWS), response.size)
    return synapse.weight().numpy()


def _draw_response(ax: Axes, response: Response) -> None:
    count = len(response.up) - 1
    for first, train, colour, name in ((0, response.up, UP, "up"), (count, response.down, DOWN, "down")):
        flat = train.flatten(1).numpy()
        x = first + np.arange(len(flat))
        for low, high, alpha in ((0.05, 0.95, 0.2), (0.25, 0.75, 0.3)):
            band = np.quantile(flat, (low, high), axis=1)
            ax.fill_between(x, band[0], band[1], color=colour, alpha=alpha, linewidth=0)
        ax.plot(x, np.median(flat, axis=1), color=colour, label=name)
        ax.plot(x, flat[:, 0], color="black", linewidth=0.7)
    ax.plot([], [], color="black", linewidth=0.7, label="one cross-point")
    ax.legend(fontsize=8, loc="best")
    ax.set(title="Pulse response, 50 and 90 %", xlabel=f"update of {response.size:.3g}", ylabel="weight")


def _draw_steps(ax: Axes, response: Response) -> None:
    for up, colour, style, name in ((True, UP, "-", "up"), (False, DOWN, DASHES[1], "down")):
        place, mean, spread = steps_by_level(response, up)
        size = np.abs(mean)
        ax.fill_between(place, np.maximum(size - spread, 0), size + spread, color=colour, alpha=0.15, linewidth=0)
        ax.plot(place, size, color=colour, linestyle=style, marker="o", markersize=3.5, label=name)
    point = symmetry_of(response)
    if point.exists:
        label = f"symmetry point {point.attracting:.3g}"
        ax.axvline(point.attracting, color="black", linewidth=1, linestyle=DASHES[2], label=label)
    for place in () if point.exists else point.repelling:
        ax.axvline(place, color="black", linewidth=1, linestyle=DASHES[4], label=f"repelling point {place:.3g}")
    ax.set(title="Step / update asked for, ±1σ", xlabel="weight", ylabel="step / update")
    ax.set_ylim(0, 1.25 * ax.get_ylim()[1])
    ax.legend(fontsize=8)


def _draw_noise(ax: Axes, portrait: Portrait) -> None:
    for values, colour, style, name in zip(
        portrait.noise, (COLOURS[2], COLOURS[3]), ("-", DASHES[1]), ("forward", "transpose"), strict=True
    ):
        ax.plot(portrait.level, values, color=colour, linestyle=style, marker="s", label=name)
    ax.set(title="Noise of a read of one cross-point", xlabel="weight / largest", ylabel="standard deviation / largest")
    ax.set_ylim(0, max(1.3 * float(portrait.noise.max()), 1e-3))
    ax.legend(fontsize=8)


def _draw_retention(ax: Axes, portrait: Portrait) -> None:
    assert portrait.retention is not None
    colours = matplotlib.colormaps["cividis"](np.linspace(0, 0.9, len(portrait.level)))
    for i, colour in enumerate(colours):
        mean, std = portrait.retention[:, :, i]
        ax.fill_between(portrait.seconds, mean - std, mean + std, color=colour, alpha=0.25, linewidth=0)
        ax.plot(portrait.seconds, mean, color=colour, marker="o", markersize=3)
    ax.set_xscale("log")
    ax.set(title="Retention, ±1σ of devices", xlabel="time since programming (s)", ylabel="weight / largest")


def _draw_map(ax: Axes, portrait: Portrait) -> None:
    low, high = np.quantile(portrait.drawn, (0.01, 0.99))
    picture = ax.imshow(portrait.drawn, vmin=low, vmax=max(high, low + 1e-3), cmap="cividis", aspect="auto")
    ax.grid(False)
    mean, std = portrait.drawn.mean(), portrait.drawn.std()
    ax.set(title=f"All written alike: {mean:.3g} ± {std:.2g}", xlabel="column", ylabel="row")
    bar = ax.figure.colorbar(picture, ax=ax, pad=0.02)
    bar.set_label("weight")
