"""What the page of the paper study says, from made-up hits whose answer is known."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from studies import module_of

from hwsim.experiments.sweep.card import StudyConfig
from hwsim.experiments.sweep.results import Place, Results

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
    """Models with their careful accuracy; by the published protocol each keeps a tenth more.

    ``large`` are further places of PGD in L∞.
    """
    large = blocks.pop("large", [])
    places: dict[str, list[Place]] = {"clean": [place(name, 0.8) for name in kept], "pgd-linf": large, **blocks}
    for block in ("pgd-linf", "pgd-l2"):
        level = LEVEL if block == "pgd-linf" else 0.486219
        places.setdefault(block, []).extend(
            place(name, share + more, protocol=protocol, epsilon=level)
            for name, share in kept.items()
            for protocol, more in (("published", 0.1), ("careful", 0.0))
        )
    config = StudyConfig(
        name="paper", measurement="./measurement.py:PAPER", page="./page.py:paper_page", blocks={"clean": {}}
    )
    return Results(Path(), {"form": "quick", "points": []}, config, {}, places, [])


def page(found: Results) -> dict[str, Any]:
    return paper_page(found)[0]


@pytest.mark.parametrize(
    ("kept", "told", "left_out"),
    [
        (
            {"EP": 0.5, "exact gradient": 0.5, "BP matched": 0.2, "BP BatchNorm": 0.1},
            "more robust than BP matched and BP BatchNorm. Its twin, the same network trained by exact gradients, "
            "cannot be told from it: what there is comes from the network",
            "less robust",
        ),
        ({"EP": 0.1, "BP matched": 0.5}, "EP's network is less robust than BP matched.", "twin"),
        (
            {"EP": 0.3, "exact gradient": 0.3, "BP matched": 0.3},
            "not to be told in both norms from BP matched.",
            ": what",
        ),
        ({"EP": 0.5, "exact gradient": 0.2, "BP matched": 0.2}, "by exact gradients, is less robust.", "comes from"),
    ],
)
def test_the_verdict_follows_the_intervals(kept: dict[str, float], told: str, left_out: str) -> None:
    verdict = page(results(kept))["answers"][0]
    assert told in verdict
    assert left_out not in verdict


def test_published_figures_stand_beside_ours_by_the_same_protocol() -> None:
    content = page(results({"EP": 0.4, "BP matched": 0.2}))
    assert "EP keeps 50.0 % (published: 57.4 %) by the published protocol and 40.0 % carefully" in content["answers"][1]
    table = next(table for table in content["tables"] if table["name"] == "pgd-linf-cifar10")
    rows = [(row[0][0], *row[1], row[2][0]) for row in table["rows"]]
    assert rows == [
        ("EP", "published: EP-CNN", "published protocol", "57.4 %"),
        ("EP", "ours", "published protocol", "50.0 %"),
        ("EP", "ours", "careful protocol", "40.0 %"),
        ("BP matched", "ours", "published protocol", "30.0 %"),
        ("BP matched", "ours", "careful protocol", "20.0 %"),
    ]
    changes = next(table for table in content["tables"] if table["name"] == "changes")
    assert [row[2][0] for row in changes["rows"]] == ["−10.0", "−10.0"]


def test_warnings_stand_where_they_matter() -> None:
    """Queries beat gradients, a large budget leaves much, more budget helps, gradients vanish, states still move."""
    kept = {"EP": 0.4, "BP matched": 0.2}
    assert page(results(kept))["warnings"] == []
    careful: dict[str, Any] = {"protocol": "careful"}
    unsettled = {"unsettled_share": 0.3, "zero_gradient_share": 0.9}
    found = results(
        kept,
        square=[place("EP", 0.1, epsilon=LEVEL, **careful), place("BP matched", 0.2, epsilon=LEVEL, **careful)],
        large=[place("EP", 0.6, epsilon=0.1, columns=unsettled, **careful)],
    )
    told = page(found)["warnings"]
    assert any("EP, L∞ 0.01: PGD leaves +30.0 points" in one and "queries alone" in one for one in told)
    assert any("60.0 % are left at ε = 0.1, so the attack fails there" in one for one in told)
    assert any("accuracy rises from ε = 0.01 to 0.1" in one for one in told)
    assert any("90.0 % of the images have an input gradient of exactly zero" in one for one in told)
    assert any("30.0 % of the images had not settled" in one for one in told)
    assert not any("BP matched" in one for one in told)


def test_the_worst_of_the_careful_attacks_is_taken_image_by_image() -> None:
    careful: dict[str, Any] = {"protocol": "careful", "epsilon": LEVEL}
    found = Findings(results({"EP": 0.4}, square=[place("EP", 0.25, images=100, **careful)]))
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
    empty = results({})
    content, figures = paper_page(empty)
    assert "Nothing is measured yet" in content["answers"][0]
    assert figures == []
