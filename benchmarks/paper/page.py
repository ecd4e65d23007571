"""The page of the paper study: its answers, how sure they are, and the warnings that go with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from hwsim.experiments.sweep.card import of_form
from hwsim.experiments.sweep.results import Results
from hwsim.reports.page import Caveat, Page, Section, counted
from hwsim.stats.interval import Interval, percent, signed_points

from .figures import draw
from .findings import ATTACKS, MENDED, PUBLISHED, Findings, StudyModel, apart, corruption_mean, middle
from .findings import published as published_figures
from .options import OPTIONS
from .protocol import EFFORTS
from .tables import tables

EP = "EP"
TWIN = "exact gradient"
BACKPROP = ("FF squared error", "FF cross-entropy", "BP BatchNorm", "ViT")
CONTROLS = (TWIN, "predictive coding", *BACKPROP, "AdvCNN L2", "AdvCNN L∞")

LARGE = {"pgd-linf": 0.09, "pgd-l2": 1.8}
"""Budgets from which on next to nothing may be left."""

LEFT, SHARE = 0.05, 0.05
"""What may be left at a large budget, and the share of zero gradients or unsettled images that needs no warning."""


def paper_page(results: Results) -> Page:
    """Answers, tables, warnings and figures; call it under the style of ``plotting.STYLE``."""
    found = Findings(results)
    if not found.models:
        nothing = "Nothing is measured yet: no model has weights and data; see the failures."
        return Page(nothing, scope=_scope(found))
    answer, *details = _answers(found)
    return Page(
        answer=answer,
        details=details,
        certainty=_certainty(found),
        caveats=[Caveat(text) for text in _warnings(found)],
        scope=_scope(found),
        sections=[Section("Figures", draw(found)), Section("Tables", tables(found))],
    )


def _scope(found: Findings) -> str:
    comparable = "Compare rows of one protocol with each other; what differs by size differs in every figure."
    if found.results.plan["form"] == "paper":
        return f"This is the paper's scale: its networks, budgets and number of trainings. {comparable}"
    counts = [next(iter(p.records.values()))["columns"]["weights"] for m in found.models if (p := found.clean(m))]
    return (
        f"These are not the paper's networks: they have {_spread(counts, ' weights')} where the published ones "
        "have 3.8 million, were trained once, for fewer epochs, and are evaluated on "
        f"{_spread(_image_counts(found), ' test images')} in place of 10,000 (200 for its ensemble and queries). "
        f"Attacks take {_effort(found)}; more steps, restarts and queries leave less. "
        f"{comparable}"
    )


def _effort(found: Findings) -> str:
    """Steps, restarts and queries of the form that was run, as the study sets them."""
    study = found.results.config
    options = {**dict(OPTIONS), **{k.removeprefix("measurement."): v for k, v in study.set.items()}}
    form = of_form(study, found.results.plan["form"]).set
    options |= {k.removeprefix("measurement."): v for k, v in form.items()}
    steps, targets, square, _ = EFFORTS[options["effort"]]
    return (
        f"{options['steps']} steps of PGD from the image and {counted(options['restarts'], 'random start')}, "
        f"{options['queries']} queries of Square by itself, and an ensemble of {steps} APGD steps, "
        f"{counted(targets, 'target')} and {square} queries"
    )


def _image_counts(found: Findings) -> list[int]:
    every = [place for places in found.results.places.values() for place in places]
    return [record["columns"]["images"] for place in every for record in place.records.values()]


def _spread(counts: list[int], what: str) -> str:
    """From the least to the most of something: `20,000 to 300,000 weights`."""
    if not counts:
        return f"fewer{what}"
    low, high = min(counts), max(counts)
    return f"{low:,}{what}" if low == high else f"{low:,} to {high:,}{what}"


def _answers(found: Findings) -> Iterator[str]:
    yield from _verdict(found)
    for block in ("pgd-linf", "pgd-l2"):
        level = middle(found, block)
        if level is not None:
            yield from _both_protocols(found, block, level)
            yield from _against_controls(found, block, level)
    yield from _correction(found)
    yield from _corruption(found)
    if found.missing:
        yield f"Not evaluated, for lack of weights or data (see the failures): {'; '.join(found.missing)}."


def _verdict(found: Findings) -> Iterator[str]:
    """The question in two sentences, by the mended protocol at the middle budgets of PGD."""
    gaps: dict[str, list[Interval]] = {}
    for block in ("pgd-linf", "pgd-l2"):
        own = found.place(block, EP, MENDED, middle(found, block))
        for name in (TWIN, *BACKPROP):
            other = found.place(block, name, MENDED, middle(found, block))
            if own is not None and other is not None:
                gaps.setdefault(name, []).append(apart(own, other))
    controls = {name: both for name, both in gaps.items() if name != TWIN}
    if not controls:
        return
    more = [name for name, both in controls.items() if all(gap.low > 0 for gap in both)]
    less = [name for name, both in controls.items() if all(gap.high < 0 for gap in both)]
    undecided = [name for name in controls if name not in (*more, *less)]
    groups = (("more robust than", more), ("less robust than", less), ("no different in both norms from", undecided))
    parts = ", ".join(f"{words} {_list(names)}" for words, names in groups if names)
    twin = _twin(gaps.get(TWIN), bool(more))
    yield f"At middle budgets of PGD by the mended protocol, EP's network is {parts}.{twin}"


def _twin(gaps: Sequence[Interval] | None, more_robust: bool) -> str:
    """How the same network trained by exact gradients compares, and what that says of the learning rule."""
    if not gaps:
        return ""
    twin = " Its twin, the same network trained by exact gradients,"
    if any(gap.low > 0 for gap in gaps):
        return f"{twin} is less robust."
    if any(gap.high < 0 for gap in gaps):
        return f"{twin} is more robust."
    reason = ": the rule that it learned by is not what makes it more robust" if more_robust else ""
    return f"{twin} is not measurably different{reason}."


def _list(names: Sequence[str]) -> str:
    return " and ".join(part for part in (", ".join(names[:-1]), names[-1]) if part)


def _both_protocols(found: Findings, block: str, level: float) -> Iterator[str]:
    """EP and the published control by both protocols, with the published figures."""
    measure, norm, title = ATTACKS[block]
    sentences = []
    for name in (EP, "BP BatchNorm", "AdvCNN L2"):
        places = [found.place(block, name, protocol, level) for protocol in (PUBLISHED, MENDED)]
        if name not in found.models or not places[0] or not places[1]:
            continue
        there = published_figures("cifar10", found.models[name].published, measure, norm).get(level)
        beside = f" (published: {percent(there.mean)})" if there else ""
        first, second = (percent(place.interval().mean) for place in places if place)
        sentences.append(f"{name} keeps {first}{beside} by the published protocol and {second} by the mended one")
    if sentences:
        yield f"{title}, ε = {level:.3g}: {'; '.join(sentences)}."


def _against_controls(found: Findings, block: str, level: float) -> Iterator[str]:
    """EP against every control, attacked by the mended protocol, and on clean images."""
    own, clean = found.place(block, EP, MENDED, level), found.clean(EP)
    if own is None:
        return
    sentences = []
    for name in CONTROLS:
        other, other_clean = found.place(block, name, MENDED, level), found.clean(name)
        if other is None:
            continue
        gap = apart(own, other)
        words = "more" if gap.low > 0 else "less" if gap.high < 0 else "not resolved"
        at = f"; clean {apart(clean, other_clean).points_with_range}" if clean and other_clean else ""
        sentences.append(f"{name} {gap.points_with_range}, {words}{at}")
    if sentences:
        yield f"{ATTACKS[block][2]}, ε = {level:.3g}, mended. What EP keeps beyond each: {' · '.join(sentences)}."


def _first(found: Findings) -> list[StudyModel]:
    """The models of the first data set."""
    return found.of(next(iter(found.data)))


def _correction(found: Findings) -> Iterator[str]:
    """Which single correction moves the figures most."""
    rungs = [str(p.axes["protocol"]) for p in found.results.places.get("ladder", [])]
    rungs = list(dict.fromkeys(rungs))
    steps: dict[str, list[tuple[str, Interval]]] = {}
    for model in _first(found):
        for before, after in pairwise(rungs):
            pair = [found.place("ladder", model.name, rung) for rung in (after, before)]
            if pair[0] and pair[1]:
                steps.setdefault(after, []).append((model.name, apart(pair[0], pair[1])))
    if not steps:
        return
    means = {rung: sum(gap.mean for _, gap in gaps) / len(gaps) for rung, gaps in steps.items()}
    worst = min(means, key=lambda rung: means[rung])
    sentences = "; ".join(f"{name} {gap.points_with_range}" for name, gap in steps[worst])
    yield (
        f"Of the corrections made one after another, “{worst.replace('-', ' ')}” changes most, "
        f"{signed_points(means[worst])} points on average: {sentences}."
    )


def _corruption(found: Findings) -> Iterator[str]:
    sentences = []
    for model in _first(found):
        known = corruption_mean(found, model.name)
        if known is None:
            continue
        ours, loss, beside, _ = known
        lost = f", {loss.points_with_range} against clean" if loss else ""
        sentences.append(f"{model.name} {ours.percent}{lost}{f' (published {percent(beside)})' if beside else ''}")
    if sentences:
        yield f"Natural corruptions, mean over types and severities: {'; '.join(sentences)}."


def _certainty(found: Findings) -> str:
    seeds = max(len(p.records) for places in found.results.places.values() for p in places)
    kinds = f"{seeds} attack seeds and the images" if seeds > 1 else "the choice of images only (one attack seed)"
    trainings = (
        "Five trainings a model are behind the intervals where their weights were there. "
        if found.results.plan["form"] == "paper"
        else "Every model was trained once: no interval covers that another training may come out otherwise, and "
        "differences of a few points between two models may be two trainings'. "
    )
    return (
        f"Intervals are at 95 % and cover {kinds}; differences are paired on the same images, and with several of "
        f"them one in twenty is off. {trainings}Every accuracy under attack is an upper bound: a stronger attack may "
        "leave less. Energy-based models are evaluated and attacked on fewer images than the others, comparisons use "
        "the images that both saw."
    )


def _warnings(found: Findings) -> Iterator[str]:
    """Signs that an attack failed where a model seems to resist, and states that were read too early."""
    for model in (m for data in found.data for m in found.of(data)):
        yield from _masked(found, model.name)
        yield from _large(found, model.name)
        yield from _shares(found, model.name)


def _masked(found: Findings, model: str) -> Iterator[str]:
    for level in found.levels("pgd-linf"):
        own = found.place("pgd-linf", model, MENDED, level)
        for block, words in (("square", "queries alone (Square)"), ("autoattack", "the ensemble")):
            other = found.place(block, model, MENDED, level)
            if own and other and (gap := apart(own, other)).low > 0:
                suspicion = "gradients are suspected of being masked" if block == "square" else "PGD is too weak here"
                yield f"{model}, L∞ {level:.3g}: PGD leaves {gap.points_with_range} more than {words}; {suspicion}."


def _large(found: Findings, model: str) -> Iterator[str]:
    for block, least in LARGE.items():
        curve = found.curve(block, model, MENDED)
        title = ATTACKS[block][2]
        if curve and curve[-1][0] >= least and (left := curve[-1][1].interval().mean) > LEFT:
            yield f"{model}, {title}: {percent(left)} are left at ε = {curve[-1][0]:.3g}, so the attack fails there."
        for (low, before), (high, after) in pairwise(curve):
            if apart(after, before).low > 0:
                yield f"{model}, {title}: accuracy rises from ε = {low:.3g} to {high:.3g}, so the larger attack fails."


def _shares(found: Findings, model: str) -> Iterator[str]:
    """Zero gradients and unsettled relaxations, the worst of all points."""
    meanings = {
        "zero_gradient_share": "of the images have an input gradient of exactly zero, where attacks stand still",
        "unsettled_share": "of the images had not settled when their prediction was read",
    }
    for column, words in meanings.items():
        shares = [
            record["columns"].get(column) or 0.0
            for places in found.results.places.values()
            for place in places
            if place.axes.get("model") == model
            for record in place.records.values()
        ]
        if (worst := max(shares, default=0.0)) > SHARE:
            yield f"{model}: up to {percent(worst)} {words}."
