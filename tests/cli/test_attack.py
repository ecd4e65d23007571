"""`hwsim attack` and `hwsim corrupt`: what they leave behind, that they go on, and that masking is told."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from job_progress import DiesAfter, Silent
from safetensors.torch import load_file, save_file

from hwsim.data import dataset as data
from hwsim.experiments.attack.job import AttackJob
from hwsim.experiments.attack.plan import plan_attack
from hwsim.experiments.attack.work import run_attack
from hwsim.experiments.compare import compare
from hwsim.experiments.corruption.job import plan_corrupt, run_corrupt
from hwsim.experiments.requests import AttackRequest, CorruptRequest
from hwsim.jobs.store import read_lines

Call = Callable[..., tuple[int, str, str]]

CELLS = "soft-bounds-cell"
SMOKE = ("attack", "--attack", "smoke", "--examples", "30")
NET = """
import torch

class Plain(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.line = torch.nn.Linear(64, 10)

    def forward(self, x):
        return self.line(x.flatten(1))

class Masked(Plain):
    def forward(self, x):
        return super().forward((x * 8).round() / 8)  # rounding has no gradient

class Five(Plain):
    def forward(self, x):
        return super().forward(x)[:, :5]

class NeedsArguments(Plain):
    def __init__(self, width):
        super().__init__()

number = lambda: 3
"""


@pytest.fixture(scope="module")
def user(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a user's net.py and weights: one linear layer, by least squares."""
    folder = tmp_path_factory.mktemp("user")
    (folder / "net.py").write_text(NET)
    digits = data.load("digits")
    x = torch.cat([digits.train.x.flatten(1), torch.ones(len(digits.train), 1)], 1).double()
    labels = torch.nn.functional.one_hot(digits.train.y, 10).double()
    solved = torch.linalg.solve(x.T @ x + torch.eye(65), x.T @ labels).T.float()
    save_file(
        {"line.weight": solved[:, :64].contiguous(), "line.bias": solved[:, 64].contiguous()}, folder / "w.safetensors"
    )
    save_file({"line.weight": torch.zeros(10, 63), "line.bias": torch.zeros(10)}, folder / "narrow.safetensors")
    save_file({"layer0.weight": torch.zeros(128, 63)}, folder / "other.safetensors")
    return folder


def results(folder: Path) -> dict[str, Any]:
    return json.loads((folder / "results.json").read_text())


def records(folder: Path) -> list[dict[str, Any]]:
    return [{k: v for k, v in record.items() if k != "seconds"} for record in read_lines(folder / "metrics.jsonl")]


def test_folder_of_an_attack(hwsim_here: Call, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    arguments = (*SMOKE, "--threat", "linf:0.1", "--threat", "linf:0.3", "--out", str(folder))
    code, out, err = hwsim_here(*arguments)
    assert (code, err) == (0, "")
    assert "RobustBench" in out
    assert "huge budget" in out
    found = results(folder)
    narrow, wide = found["threats"]
    assert narrow["clean"]["mean"] >= narrow["worst"]["mean"] > wide["worst"]["mean"]
    assert narrow["worst"]["mean"] <= min(attack["mean"] for attack in narrow["attacks"].values())
    assert narrow["reported"]["mean"] <= narrow["worst"]["mean"]
    assert narrow["worst"]["low"] < narrow["worst"]["mean"] < narrow["worst"]["high"]
    assert any("first 30 of 360" in caveat for caveat in found["caveats"])
    assert len(narrow["checks"]["checks"]) >= 12
    with (folder / "examples.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 2 * 3 * 30
    worst = [float(r["attacked"]) for r in rows if (r["threat"], r["attack"]) == ("linf:0.1", "worst")]
    assert sum(worst) / 30 == pytest.approx(narrow["worst"]["mean"])
    kept = load_file(folder / "adversarial" / "linf-0.1-all-0.safetensors")
    clean = data.load("digits").test.x[:30]
    assert (kept["images"] - clean).abs().max() == pytest.approx(0.1, abs=1e-5)
    assert kept["images"].min() >= 0
    assert kept["images"].max() <= 1
    assert (folder / "figures" / "security.png").stat().st_size > 5000
    before = (folder / "metrics.jsonl").read_bytes()
    assert hwsim_here(*arguments)[0] == 0
    assert (folder / "metrics.jsonl").read_bytes() == before
    assert results(folder) == found
    code, _, err = hwsim_here(*arguments, "--seed", "1")
    assert code == 2
    assert "another configuration" in err


def on_chips(folder: Path) -> AttackJob:
    request = AttackRequest(
        model="digits-mlp",
        device=CELLS,
        knows="device",
        eot=1,
        instances=2,
        draws=3,
        threats=["linf:0.1"],
        attack="fgsm",
        gradient="unrolled-5",
        examples=10,
        checks=False,
        out=folder,
    )
    return replace(plan_attack(request), slice_images=5)


def test_interrupted_attack_on_noisy_chips_equals_uninterrupted(tmp_path: Path) -> None:
    whole, parts = tmp_path / "whole", tmp_path / "parts"
    progress = Silent()
    run_attack(on_chips(whole), progress)
    assert progress.count == progress.units == 2 * 2 * 2
    for units in (3, 5):  # in the second slice, then in the third
        with pytest.raises(KeyboardInterrupt):
            run_attack(on_chips(parts), DiesAfter(units))
    run_attack(on_chips(parts), Silent())
    assert records(parts) == records(whole)
    names = sorted(path.name for path in (whole / "adversarial").iterdir())
    assert len(names) == 4
    for name in names:
        a, b = (load_file(folder / "adversarial" / name) for folder in (whole, parts))
        assert a["images"].equal(b["images"])
    own = [record["hits"][0] for record in records(whole) if record["kind"] == "attack"]
    assert len(own) == 4
    assert all(0 <= hit <= 3 for hits in own for hit in hits)


def test_chips_are_judged_apart_and_with_majority(hwsim_here: Call, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    arguments = ("--device", CELLS, "--instances", "2", "--draws", "2", "--knows", "float-weights", "--no-checks")
    code, out, err = hwsim_here(*SMOKE, *arguments, "--threat", "linf:0.1", "--out", str(folder))
    assert (code, err) == (0, "")
    found = results(folder)
    (one,) = found["threats"]
    assert "pgd-margin" in one["attacks"], "points just over the boundary would come back under noise"
    assert one["worst"]["over"] == "repeats and images"
    assert 0 <= one["worst"]["majority"] <= 1
    assert "--no-checks" in out
    assert any("at least 5" in caveat for caveat in found["caveats"])
    assert any("same weights" in caveat for caveat in found["caveats"]), "this cell takes programmed weights exactly"
    assert any("before programming" in caveat for caveat in found["caveats"])


def test_attack_seeds_are_worst_and_spread_over(hwsim_here: Call, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    arguments = ("attack", "--attack", "pgd", "--examples", "60", "--threat", "linf:0.1", "--no-checks")
    code, out, err = hwsim_here(*arguments, "--seeds", "2", "--out", str(folder))
    assert (code, err) == (0, "")
    assert "by attack seed" in out
    found = results(folder)
    assert found["seeds"] == [0, 1]
    assert not any("One attack seed" in caveat for caveat in found["caveats"])
    (one,) = found["threats"]
    for name in ("pgd-ce", "pgd-margin"):
        row = one["attacks"][name]
        assert row["mean"] == pytest.approx(sum(row["by_seed"]) / 2)
        assert row["least_over_seeds"] <= min(row["by_seed"])
    assert one["worst"]["mean"] <= min(one["worst"]["by_seed"])
    single = tmp_path / "single"
    assert hwsim_here(*arguments, "--seeds", "1,", "--out", str(single))[0] == 0
    (alone,) = results(single)["threats"]
    assert alone["worst"]["mean"] == pytest.approx(one["worst"]["by_seed"][1])
    assert any("One attack seed" in caveat for caveat in results(single)["caveats"])
    with (folder / "examples.csv").open() as file:
        rows = list(csv.DictReader(file))
    worst = {
        seed: {int(r["image"]): float(r["attacked"]) for r in rows if (r["attack"], r["seed"]) == ("worst", seed)}
        for seed in ("0", "1", "all")
    }
    assert worst["all"] == {i: min(worst["0"][i], worst["1"][i]) for i in range(60)}
    assert worst["0"] != worst["1"]
    (row,) = [row for row in compare(folder, single).rows if row.name == "linf:0.1, worst"]
    assert row.first == pytest.approx(one["worst"]["mean"])
    before = records(folder)
    assert hwsim_here(*arguments, "--seeds", "0,1", "--out", str(folder))[0] == 0
    assert records(folder) == before


def test_chips_are_attacked_at_their_age(hwsim_here: Call, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    arguments = ("attack", "--device", "pcm-inference", "--instances", "1", "--draws", "2", "--attack", "fgsm")
    more = ("--examples", "40", "--threat", "linf:0.15", "--no-checks", "--out", str(folder))
    code, out, err = hwsim_here(*arguments, *more, "--age", "0, 1year")
    assert (code, err) == (0, "")
    assert "1 year after programming" in out
    found = results(folder)
    fresh, old = found["threats"]
    assert (fresh["age_s"], old["age"]) == (0.0, "1 year")
    (told,) = [caveat for caveat in found["caveats"] if "after programming" in caveat]
    assert "compensated by one factor an array" in told
    images = [load_file(path)["images"] for path in sorted((folder / "adversarial").iterdir())]
    assert len(images) == 2
    assert not images[0].equal(images[1]), "the attacker knows the conductances of that age"
    with (folder / "examples.csv").open() as file:
        assert {row["age_s"] for row in csv.DictReader(file)} == {"0.0", str(365 * 86400.0)}
    names = {row.name for row in compare(folder, folder).rows}
    assert {name.rpartition(", ")[0] for name in names} == {"linf:0.15, 0 s", "linf:0.15, 1 year"}


def test_few_pixels_are_attacked_by_default_with_what_works_there(hwsim_here: Call, tmp_path: Path) -> None:
    planned = plan_attack(AttackRequest(threats=["l0:2"]))
    assert [attack.name for attack in planned.attacks] == ["pgd-ce", "pgd-margin", "sparse-rs"]
    given = ("--threat", "l0:2", "--attack", "pgd", "--examples", "8", "--no-checks", "--out", str(tmp_path / "a"))
    code, _, err = hwsim_here("attack", *given)
    assert (code, err) == (0, "")
    with (tmp_path / "a" / "examples.csv").open() as file:
        assert max(float(r["distance"]) for r in csv.DictReader(file) if r["attack"] == "worst") == 2.0


def test_corruptions_of_an_aged_chip(hwsim_here: Call, tmp_path: Path) -> None:
    common = ("corrupt", "--types", "fog", "--severities", "3", "--device", "pcm-inference", "--instances", "1")
    hits = []
    for name, more in (("fresh", ()), ("old", ("--age", "1year"))):
        code, out, err = hwsim_here(*common, "--draws", "2", "--examples", "60", "--out", str(tmp_path / name), *more)
        assert (code, err) == (0, "")
        assert ("1 year after programming" in out) == (name == "old")
        hits.append([record["hits"] for record in records(tmp_path / name)])
    assert hits[0] != hits[1]
    refused(hwsim_here, tmp_path / "c", ["--age", "one time"], *common, "--age", "1h,2h")


def test_a_users_module_that_masks_is_flagged(hwsim_here: Call, user: Path, tmp_path: Path) -> None:
    given = ("--weights", str(user / "w.safetensors"), "--data", "digits", "--threat", "linf:0.15", "--examples", "100")
    found = {}
    for name in ("Plain", "Masked"):
        code, out, err = hwsim_here(
            "attack",
            "--model",
            f"{user / 'net.py'}:{name}",
            "--attack",
            "apgd-ce",
            "--out",
            str(tmp_path / name),
            *given,
        )
        assert (code, err) == (0, "")
        (found[name],) = results(tmp_path / name)["threats"]
        assert ("FLAG" in out) == (name == "Masked")
    assert found["Plain"]["flags"] == []
    assert {"zero gradients", "huge budget"} <= set(found["Masked"]["flags"])
    code, out, err = hwsim_here("compare", str(tmp_path / "Plain"), str(tmp_path / "Masked"))
    assert (code, err) == (0, "")
    rows = compare(tmp_path / "Plain", tmp_path / "Masked").rows
    (row,) = [row for row in rows if row.name == "linf:0.15, worst"]
    assert row.how == "paired: 100 images"
    assert row.difference == pytest.approx(found["Plain"]["worst"]["mean"] - found["Masked"]["worst"]["mean"])
    assert row.high < 0
    assert row.p is not None
    assert row.p < 0.01
    code, _, err = hwsim_here("compare", str(tmp_path / "Plain"), str(tmp_path))
    assert code == 2
    assert "config.yaml" in err
    masked = found["Masked"]
    assert masked["reported"]["mean"] < masked["worst"]["mean"] - 0.2
    assert masked["reported"]["of"] == "the checks, first 100 images"
    assert masked["reported"]["upper_bound"]
    assert not found["Plain"]["reported"]["upper_bound"]


def test_queries_and_transfer_need_no_knowledge(hwsim_here: Call, user: Path, tmp_path: Path) -> None:
    source = f"{user / 'net.py'}:Plain:{user / 'w.safetensors'}"
    given = ("--knows", "nothing", "--attack", "random-search", "--transfer-from", source, "--examples", "20")
    code, out, err = hwsim_here("attack", *given, "--threat", "l2:1", "--out", str(tmp_path / "a"))
    assert (code, err) == (0, "")
    (found,) = results(tmp_path / "a")["threats"]
    assert list(found["attacks"]) == ["random-search", "transfer from net.py:Plain:pgd-margin"]
    assert "checks" not in found
    assert "only query" in out


MISTAKES = [
    (["--attack", "pdg"], ["attack", "pgd", "'pdg'"]),
    (["--threat", "linf"], ["NORM:EPSILON", "'linf'"]),
    (["--threat", "linf:8"], ["linf:8/255"]),
    (["--threat", "l2:1", "--threat", "l2:1.0"], ["--threat", "different"]),
    (["--gradient", "explicit"], ["gradient", "implicit", "'explicit'"]),
    (["--knows", "all"], ["--knows", "conductances", "'all'"]),
    (["--knows", "device"], ["--knows device", "--device"]),
    (["--knows", "nothing", "--attack", "pgd"], ["--knows nothing", "pgd-ce", "square"]),
    (["--instances", "3"], ["--instances 3", "--device"]),
    (["--draws", "0"], ["--draws", "at least 1"]),
    (["--seeds", "0"], ["--seeds", "how many attack seeds", "'0'"]),
    (["--seeds", "1,1"], ["--seeds", "different"]),
    (["--seeds", "x"], ["--seeds", "'x'"]),
    (["--cascade", "--device", CELLS], ["--cascade", "noisy"]),
    (["--check-images", "0"], ["--check-images", "at least 1"]),
    (["--age", "1h"], ["--age 1h", "--device"]),
    (["--age", "1h", "--device", "ecram"], ["ecram does not drift"]),
    (["--age", "1 fortnight", "--device", "pcm-inference"], ["--age", "1h", "fortnight"]),
    (["--age", "-1", "--device", "pcm-inference"], ["--age", "'-1'"]),
    (["--threat", "l0:3", "--attack", "standard"], ["threat l0:3", "apgd-ce", "sparse"]),
    (["--threat", "l1:3", "--attack", "sparse-rs"], ["l1", "sparse-rs", "ead"]),
    (["--threat", "l0:3", "--threat", "linf:0.1"], ["l0:3", "standard"]),
    (["--examples", "361"], ["--examples", "1 to 360", "361"]),
    (["--model", "digits-mpl"], ["model 'digits-mpl'", "digits-mlp"]),
    (["--device", "ecrma"], ["did you mean 'ecram'"]),
    (["--weights", "nowhere.safetensors"], ["--weights nowhere.safetensors", "hwsim train --model digits-mlp"]),
    (["--weights", "{user}/other.safetensors"], ["other.safetensors", "layer0.bias"]),
    (["--transfer-from", "digits-mlp", "--transfer-from", "digits-mlp"], ["--transfer-from", "twice"]),
    (["--model", "{user}/net.py:Plain", "--weights", "{user}/w.safetensors"], ["--data"]),
    (["--model", "{user}/net.py:Plain", "--data", "digits"], ["--weights"]),
    (["--model", "{user}/nets.py:Plain", "--weights", "w", "--data", "digits"], ["no such file", "nets.py"]),
]
MODULE_MISTAKES = [
    ("Plian", "w", ["Plian", "did you mean 'Plain'"]),
    ("Plain", "narrow", ["narrow.safetensors", "line.weight", "63"]),
    ("Plain", "nowhere", ["nowhere.safetensors", "no weights"]),
    ("Five", "w", ["gives 5 scores", "10 classes"]),
    ("NeedsArguments", "w", ["without arguments", "width"]),
    ("number", "w", ["int", "torch.nn.Module"]),
]


def refused(call: Call, folder: Path, expected: list[str], *arguments: str) -> None:
    code, _, err = call(*arguments, "--out", str(folder))
    assert code == 2, err
    assert "Traceback" not in err
    for text in expected:
        assert text in err
    assert not folder.exists(), "nothing is begun before everything is valid"


@pytest.mark.parametrize(("arguments", "expected"), MISTAKES, ids=[" ".join(a) for a, _ in MISTAKES])
def test_mistake_is_told(
    hwsim_here: Call, user: Path, tmp_path: Path, arguments: list[str], expected: list[str]
) -> None:
    refused(hwsim_here, tmp_path / "a", expected, "attack", *(part.format(user=user) for part in arguments))


@pytest.mark.parametrize(("name", "weights", "expected"), MODULE_MISTAKES)
def test_mistake_in_a_module_is_told(
    hwsim_here: Call, user: Path, tmp_path: Path, name: str, weights: str, expected: list[str]
) -> None:
    model = ("--model", f"{user / 'net.py'}:{name}", "--weights", str(user / f"{weights}.safetensors"))
    refused(hwsim_here, tmp_path / "a", expected, "attack", *model, "--data", "digits")


def test_modules_run_on_no_device(hwsim_here: Call, user: Path, tmp_path: Path) -> None:
    model = ("--model", f"{user / 'net.py'}:Plain", "--weights", str(user / "w.safetensors"), "--data", "digits")
    refused(hwsim_here, tmp_path / "a", ["--device", "torch module"], "attack", *model, "--device", CELLS)
    refused(hwsim_here, tmp_path / "a", ["--gradient", "torch module"], "attack", *model, "--gradient", "implicit")


def test_corruptions_with_a_baseline(hwsim_here: Call, tmp_path: Path) -> None:
    folder = tmp_path / "c"
    arguments = ("--types", "contrast,gaussian-blur,fog", "--severities", "1,5", "--noise", "0.2")
    more = ("--salt-and-pepper", "0.1", "--baseline", "digits-mlp", "--examples", "100", "--out", str(folder))
    code, out, err = hwsim_here("corrupt", *arguments, *more)
    assert (code, err) == (0, "")
    found = results(folder)
    by_level = {(row["name"], row["level"]): row for row in found["rows"] if row["case"] == "model"}
    assert len(by_level) == 1 + 3 * 2 + 2
    assert by_level["contrast", 5]["mean"] < by_level["contrast", 1]["mean"] - 0.3
    common, extra = found["means"]
    assert (common["types"], extra["types"]) == (2, 1)
    assert common["mce"] == pytest.approx(1.0), "a model is as good as itself"
    assert common["accuracy"] == common["baseline_accuracy"]
    assert "mCE 1.000" in out
    assert any("no canonical baseline" in caveat for caveat in found["caveats"])
    for name in ("heat-map.png", "heat-map.svg", "corruptions.png", "corruptions.svg"):
        assert (folder / "figures" / name).stat().st_size > 5000


def test_few_images_leave_a_ratio_without_an_upper_end(hwsim_here: Call, tmp_path: Path) -> None:
    """Some draws of twenty images have a baseline that errs on none of them."""
    few = ("--types", "gaussian-blur", "--severities", "1", "--examples", "20", "--baseline", "digits-mlp")
    code, _, err = hwsim_here("corrupt", "--model", "adv-ep-digits", *few, "--out", str(tmp_path / "c"))
    assert (code, err) == (0, "")
    (common,) = results(tmp_path / "c")["means"]
    assert isinstance(common["mce"], str) or common["mce_ends"][1] is None


def test_interrupted_corruptions_on_chips_equal_uninterrupted(tmp_path: Path) -> None:
    def job(folder: Path) -> Any:
        few = {"instances": 2, "draws": 2, "examples": 20}
        return plan_corrupt(CorruptRequest(device=CELLS, types="fog", severities="2,4", out=folder, **few))

    run_corrupt(job(tmp_path / "whole"), Silent())
    with pytest.raises(KeyboardInterrupt):
        run_corrupt(job(tmp_path / "parts"), DiesAfter(1))
    run_corrupt(job(tmp_path / "parts"), Silent())
    assert records(tmp_path / "parts") == records(tmp_path / "whole")
    assert len(records(tmp_path / "whole")) == 3


CORRUPT_MISTAKES = [
    (["--types", "fogg"], ["--types", "did you mean 'fog'"]),
    (["--types", ","], ["--types", "common"]),
    (["--severities", "0"], ["--severities", "1 to 5"]),
    (["--severities", "two"], ["--severities", "'two'"]),
    (["--noise", "-0.1"], ["noise", "-0.1"]),
    (["--salt-and-pepper", "2"], ["salt and pepper", "2"]),
    (["--corrupted-dir", "."], ["--corrupted-dir", "CIFAR"]),
    (["--baseline", "digits-mpl"], ["digits-mlp"]),
]


@pytest.mark.parametrize(("arguments", "expected"), CORRUPT_MISTAKES, ids=[" ".join(a) for a, _ in CORRUPT_MISTAKES])
def test_mistake_in_corruptions_is_told(
    hwsim_here: Call, tmp_path: Path, arguments: list[str], expected: list[str]
) -> None:
    refused(hwsim_here, tmp_path / "c", expected, "corrupt", *arguments)
