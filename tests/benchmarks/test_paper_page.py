"""What the page of the paper study says, from made-up hits whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies import module_of

from hwsim.experiments.sweep.card import StudyConfig
from hwsim.experiments.sweep.results import Place, Results
from hwsim.reports.page import Page, Table

FINDINGS = module_of("paper", "findings")
Findings, apart, common = FINDINGS.Findings, FINDINGS.apart, FINDINGS.common
paper_page = module_of("paper", "page").paper_page

LEVEL = 0.01


def hits(share: float, images: int = 200) -> list[int]:
    """The first images are right; two lists agree as far as they can."""
    return [int(i < round(share * images)) for i in range(images)]


def place(model: str, share: float, images: int = 200, seeds: int = 1, columns: Any = None, **axes: Any) -> Place:
    accuracy = {"draws": 1, "hits": hits(share, images)}
    told = {"published": "EP-CNN" if model == "EP" else None, "data": "cifar10", "images": images, "weights": 1000}
    told |= {"weights_sha256": "0" * 64, "accuracy_share": share, **(columns or {})}
    record = {"columns": told, "hits": {"accuracy_share": accuracy, "accuracy_clean_share": accuracy}}
    return Place({"model": model, **axes}, dict.fromkeys(range(seeds), record), 0)


def results(kept: dict[str, float], **blocks: list[Place]) -> Results:
    """Models with their mended accuracy; by the published protocol each keeps a tenth more.

    ``large`` are further places of PGD in L∞.
    """
    large = blocks.pop("large", [])
    places: dict[str, list[Place]] = {"clean": [place(name, 0.8) for name in kept], "pgd-linf": large, **blocks}
    for block in ("pgd-linf", "pgd-l2"):
        level = LEVEL if block == "pgd-linf" else 0.486219
        places.setdefault(block, []).extend(
            place(name, share + more, protocol=protocol, epsilon=level)
            for name, share in kept.items()
            for protocol, more in (("published", 0.1), ("mended", 0.0))
        )
    config = StudyConfig(
        name="paper", measurement="./measurement.py:PAPER", page="./page.py:paper_page", blocks={"clean": {}}
    )
    return Results(Path(), {"form": "quick", "points": []}, config, {}, places, [])


def table(page: Page, name: str) -> list[list[str]]:
    """The texts of a table's cells, small ones apart."""
    items = [item for section in page.sections for item in section.items]
    (found,) = (item for item in items if isinstance(item, Table) and item.name == name)
    return [[text for cell in row for text in cell if text] for row in found.body]


@pytest.mark.parametrize(
    ("kept", "said", "unsaid"),
    [
        (
            {"EP": 0.5, "exact gradient": 0.5, "FF cross-entropy": 0.2, "BP BatchNorm": 0.1},
            ["more robust than FF cross-entropy and BP BatchNorm", "not measurably different", "is not what makes"],
            ["less robust"],
        ),
        ({"EP": 0.1, "FF cross-entropy": 0.5}, ["less robust than FF cross-entropy"], ["twin", "more robust"]),
        (
            {"EP": 0.3, "exact gradient": 0.3, "FF cross-entropy": 0.3},
            ["no different in both norms from FF cross-entropy", "not measurably different"],
            ["is not what makes", "more robust", "less robust"],
        ),
        (
            {"EP": 0.5, "exact gradient": 0.2, "FF cross-entropy": 0.2},
            ["more robust than FF cross-entropy", "twin", "is less robust"],
            ["is not what makes"],
        ),
    ],
)
def test_the_verdict_follows_the_intervals(kept: dict[str, float], said: list[str], unsaid: list[str]) -> None:
    verdict = paper_page(results(kept)).answer
    assert all(words in verdict for words in said)
    assert not any(words in verdict for words in unsaid)


def test_published_figures_stand_beside_ours_by_the_same_protocol() -> None:
    page = paper_page(results({"EP": 0.4, "FF cross-entropy": 0.2}))
    assert all(figure in page.details[0] for figure in ("EP keeps 50.0 %", "57.4 %", "40.0 %"))
    rows = [(*row[:3], row[3]) for row in table(page, "pgd-linf-cifar10")]
    assert rows == [
        ("EP", "published: EP-CNN", "published protocol", "57.4 %"),
        ("EP", "ours", "published protocol", "50.0 %"),
        ("EP", "ours", "mended protocol", "40.0 %"),
        ("FF cross-entropy", "ours", "published protocol", "30.0 %"),
        ("FF cross-entropy", "ours", "mended protocol", "20.0 %"),
    ]
    assert ["−10.0" in row for row in table(page, "changes")] == [True, True]


def test_warnings_stand_where_they_matter() -> None:
    """Queries beat gradients, a large budget leaves much, more budget helps, gradients vanish, states still move."""
    kept = {"EP": 0.4, "FF cross-entropy": 0.2}
    assert paper_page(results(kept)).caveats == []
    mended: dict[str, Any] = {"protocol": "mended"}
    unsettled = {"unsettled_share": 0.3, "zero_gradient_share": 0.9}
    found = results(
        kept,
        square=[place("EP", 0.1, epsilon=LEVEL, **mended), place("FF cross-entropy", 0.2, epsilon=LEVEL, **mended)],
        large=[place("EP", 0.6, epsilon=0.1, columns=unsettled, **mended)],
    )
    warnings = [caveat.text for caveat in paper_page(found).caveats]
    for words in (
        ("EP, L∞ 0.01", "+30.0 points", "queries alone"),
        ("60.0 %", "ε = 0.1", "the attack fails"),
        ("accuracy rises", "0.01 to 0.1"),
        ("90.0 %", "input gradient of exactly zero"),
        ("30.0 %", "had not settled"),
    ):
        assert any(all(word in warning for word in words) for warning in warnings), words
    assert not any("FF cross-entropy" in warning for warning in warnings)


def test_the_worst_of_the_careful_attacks_is_taken_image_by_image() -> None:
    mended: dict[str, Any] = {"protocol": "mended", "epsilon": LEVEL}
    found = Findings(results({"EP": 0.4}, square=[place("EP", 0.25, images=100, **mended)]))
    worst = found.worst("EP", LEVEL)
    assert worst is not None
    shares, attacks = worst
    assert attacks == ["PGD", "Square (queries only)"]
    assert shares.shape == (1, 100), "the images that both saw"
    assert shares.mean() == 0.25


def test_places_share_seeds_and_images() -> None:
    """What draws nothing has one seed, and stands beside each of the others'."""
    one, three = place("EP", 0.5, images=50), place("EP", 0.4, images=80, seeds=3)
    assert [shares.shape for shares in common([one, three])] == [(3, 50), (3, 50)]
    assert apart(one, three).mean == pytest.approx(0.5 - 32 / 50)


def test_nothing_measured_is_a_page() -> None:
    page = paper_page(results({}))
    assert "Nothing is measured yet" in page.answer
    assert page.sections == ()
