"""The page of the comparison: what each network keeps, and its difference to the Hopfield network, image by image."""

from __future__ import annotations

from collections.abc import Sequence

from hwsim.experiments.sweep.results import CLEAN, Place, Results
from hwsim.reports.page import Column, Page, Section, Table, counted
from hwsim.reports.plotting import Figure, accuracy_axis, curve, label_values, legend, line_style, panels
from hwsim.stats.interval import Interval, difference

REFERENCE = "Hopfield, EP"
ATTACKED = "accuracy_attacks-linf"


def robustness_page(results: Results) -> Page:
    """Answer, tables and a figure; call it under the style of ``plotting.STYLE``."""
    places = {p.axes["network"]: p for group in results.places.values() for p in group if p.records}
    if not places:
        return Page("Nothing is measured yet.")
    columns = list(next(iter(next(iter(places.values())).records.values()))["hits"])
    seeds, images = max(len(p.records) for p in places.values()), next(iter(places.values())).shares().shape[1]
    rows = [[name, *(place.interval(column) for column in columns)] for name, place in places.items()]
    tables: list[Table | Figure] = [
        Table("accuracy", "Test accuracy, with its 95 % interval below.", ["network", *map(_heading, columns)], rows)
    ]
    reference = places.get(REFERENCE)
    answers = [f"The {name} network keeps {_kept(place, columns)}." for name, place in places.items()]
    if reference is not None:
        apart = {n: [_apart(p, reference, c) for c in columns] for n, p in places.items() if n != REFERENCE}
        head: list[Column | str] = ["network", *(Column(_heading(column), "points") for column in columns)]
        caption = f"Difference to {REFERENCE} on the same images, in points, with its 95 % interval below."
        tables.append(Table("difference", caption, head, [[name, *found] for name, found in apart.items()]))
        answers = [_verdict(name, columns, found) for name, found in apart.items()]
    several = f"{counted(seeds, 'seed')} (trainings) and " if seeds > 1 else ""
    return Page(
        answer=answers[0],
        details=answers[1:],
        certainty=f"Means and 95 % intervals over {several}{images} test images. Differences are paired.",
        limits=[
            "Small networks on small images, one size of each kind: 64-128-10. Equal clean accuracy is that of the "
            "validation images at which training was stopped; the clean test accuracies stand in the tables.",
            "An image is kept under a budget if all attacks leave it right: two gradient attacks along exact gradients "
            "and one by queries. More attacks or steps can only lower the figures.",
        ],
        sections=[Section("Robustness", [*tables, _curves(places, columns)])],
    )


def _attacks(columns: Sequence[str]) -> list[str]:
    return sorted((c for c in columns if c.startswith(ATTACKED)), key=_level)


def _level(column: str) -> float:
    return float(column.removesuffix("_share").rpartition("epsilon")[2])


def _heading(column: str) -> str:
    return "clean" if column == CLEAN else column.removeprefix("accuracy_").removesuffix("_share").replace("_", " ")


def _apart(place: Place, reference: Place, column: str) -> Interval:
    return difference(place.shares(column), reference.shares(column))


def _kept(place: Place, columns: Sequence[str]) -> str:
    clean, attacked = place.interval(CLEAN), _attacks(columns)
    middle = attacked[len(attacked) // 2]
    return f"{clean.percent} of clean images and {place.interval(middle).percent} at budget {_level(middle):g}"


def _verdict(name: str, columns: Sequence[str], apart: Sequence[Interval]) -> str:
    found = dict(zip(columns, apart, strict=True))
    attacked = _attacks(columns)
    words = [f"{found[c].points_with_range} at budget {_level(c):g}" for c in attacked]
    better = sum(found[c].low > 0 for c in attacked)
    worse = sum(found[c].high < 0 for c in attacked)
    if better and not worse:
        what = "is more robust to attacks than"
    elif worse and not better:
        what = "is less robust to attacks than"
    elif better:
        what = "is more robust at some budgets and less at others than"
    else:
        what = "cannot be told apart under attack from"
    clean, budgets = found[CLEAN].points_with_range, ", ".join(words)
    return f"At clean accuracies {clean} apart, '{name}' {what} '{REFERENCE}', as far as resolved: {budgets}."


def _curves(places: dict[str, Place], columns: Sequence[str]) -> Figure:
    canvas, (ax,) = panels(1, 1, 3.0)
    styles = {name: line_style(i) for i, name in enumerate(places)}
    attacked, words = _attacks(columns), []
    x = [0.0, *map(_level, attacked)]
    for name, place in places.items():
        numbers = curve(ax, x, [place.interval(c) for c in (CLEAN, *attacked)], styles[name])
        words.append(f"{name}, by budget: {numbers}.")
    label_values(ax, x)
    accuracy_axis(ax)
    ax.set(xlabel="attack budget ε, L∞ (pixel units)", ylabel="test accuracy")
    legend(canvas, styles, list(styles))
    caption = "What all attacks together leave; bands are 95 % intervals over seeds and images."
    return Figure("attacks", "Accuracy against attack budget", caption, words, canvas)
