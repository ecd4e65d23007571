"""``hwsim ablate --updates``: ways to write against ways to read."""

from __future__ import annotations

import csv
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from cli_settings import small
from htmlpage import Page

from hwsim.cards.device import read_device, with_exact_updates
from hwsim.errors import InputError
from hwsim.experiments.ablation.job import ALL_ON, Ablation
from hwsim.experiments.ablation.updates import UPDATES, pair, plan_updates
from hwsim.experiments.requests import AblationRequest
from hwsim.rng import Streams

Cli = Callable[..., tuple[int, str, str]]

# So asymmetric that trains for every row forget, and so coarse a converter that reads cost something, too.
DEVICE = """\
cell: soft-bounds
parameters: {dw_min: 0.002, up_down: 0.8}
forward: {inp_bound: 1.0, out_bound: 12.0, out_noise: 0.05}
mapping: {omega: 0.4}
"""


@pytest.fixture
def device(tmp_path: Path) -> str:
    path = tmp_path / "asymmetric" / "rpu-config.yaml"
    path.parent.mkdir()
    path.write_text(DEVICE)
    return str(path)


def plan(device: str, out: Path, *settings: str) -> Ablation:
    return plan_updates(AblationRequest(device=device, seeds=1, settings=list(settings), out=out, updates=True))


@pytest.mark.parametrize("name", ["ecram", "soft-bounds-cell", "reram-sb", "tiki-taka-reram-sb", "mixed-precision-pcm"])
def test_exact_updates_leave_the_reads_as_they_are(name: str) -> None:
    card = read_device(name, [("array.offset_std", 0.01)] if name == "ecram" else [])
    exact = with_exact_updates(card)
    for side in ("forward", "backward"):
        assert exact.resolved[side] == card.resolved[side]
    weight, generator = torch.full((5, 7), 0.2), torch.Generator().manual_seed(0)
    x, d = torch.rand(6, 7, generator=generator), torch.randn(6, 5, generator=generator)
    synapse = exact.device.synapse(5, 7, Streams(0))
    synapse.program(weight)
    synapse.update(x, d, 0.3)
    synapse.tick()
    torch.testing.assert_close(synapse.weight(), weight + 0.3 * d.T @ x)
    assert synapse.noisy


def test_what_is_exact_already_is_refused() -> None:
    for name in ("ideal", "pcm-inference"):
        with pytest.raises(InputError, match="expected one that learns in situ"):
            with_exact_updates(read_device(name))


def test_six_variants_of_one_recipe(device: str, tmp_path: Path) -> None:
    planned = plan(device, tmp_path / "out")
    assert set(planned.variants) == {ALL_ON, *(pair(m, r) for m in UPDATES for r in ("exact", "noisy"))}
    assert planned.variants[ALL_ON] is planned.variants[pair("per-sample", "noisy")]
    assert len(planned.work()) == 6
    for name, variant in planned.variants.items():
        assert variant.recipe.update == ("accumulate" if name.startswith("accumulate") else "per-sample")
        assert variant.recipe.rates == planned.run.in_situ.rates
        assert bool(variant.card.resolved["forward"]["out_noise"]) == ("exact reads" not in name)


def test_it_separates_writing_from_reading_and_goes_on(device: str, tmp_path: Path, hwsim_here: Cli) -> None:
    out = tmp_path / "out"
    settings = small("network.layers=[64, 16, 10]", "in_situ.epochs=3", "inference.steps=20", "evaluation.examples=100")
    arguments = ("ablate", "--device", device, "--updates", "--seeds", "1", "--out", str(out), *settings)
    code, printed, err = hwsim_here(*arguments)
    assert code == 0, err
    with (out / "ablation.csv").open() as file:
        share = {(r["updates"], r["reads"]): float(r["accuracy_mean_share"]) for r in csv.DictReader(file)}
    assert set(share) == {(m, r) for m in UPDATES for r in ("exact", "noisy")}
    assert min(share["exact", "exact"], share["exact", "noisy"]) > share["per-sample", "noisy"] + 0.1
    assert share["accumulate", "noisy"] > share["per-sample", "noisy"]
    assert "lost step by step: noisy reads" in printed
    page = (out / "report.html").read_text()
    assert "a train for every row" in page
    assert Page(page)
    before = (out / "ablation.jsonl").read_bytes()
    assert hwsim_here(*arguments)[0] == 0
    assert (out / "ablation.jsonl").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--device", "ecram", "--case", "programmed"], "--case: --updates compares ways to learn in situ"),
        (["--device", "ecram", "--property", "bounds"], "--property: --updates compares"),
        (["--device", "pcm-inference"], "trained in digital"),
        (["--device", "mixed-precision-pcm"], "accumulate"),
        (["--device", "ideal"], "expected one that learns in situ"),
    ],
)
def test_what_cannot_be_compared_is_said(hwsim_here: Cli, arguments: list[str], complaint: str) -> None:
    code, _, err = hwsim_here("ablate", "--updates", *arguments)
    assert code == 2
    assert complaint in err
