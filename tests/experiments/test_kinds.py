"""What a folder says of itself: its kind, the version that wrote it, and how folders of before are known."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import attackfolder
import jobfolders
import pytest
import runfolder
import yaml

from hwsim import __version__
from hwsim.errors import InputError
from hwsim.experiments.compare import FIGURES
from hwsim.experiments.kinds import KINDS, headline, read_folder, results_of


def rewrite(folder: Path, **changes: Any) -> Path:
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump({**changes, **config}, sort_keys=False))
    return folder


def test_every_kind_can_be_compared() -> None:
    assert set(FIGURES) == set(KINDS)


def test_folders_from_before_are_known_by_their_configuration(tmp_path: Path) -> None:
    made = {
        "run": runfolder.write_run(tmp_path / "run"),
        "attack": attackfolder.write_attack(tmp_path / "attack"),
        "corrupt": jobfolders.write_corrupt(tmp_path / "corrupt", 0.5),
        "train": jobfolders.write_training(tmp_path / "train", 0.5),
        "ablate": jobfolders.write_ablation(tmp_path / "ablate", 0.5),
        "sweep": jobfolders.write_sweep(tmp_path / "sweep", 0.5),
    }
    assert set(made) == set(KINDS)
    for kind, folder in made.items():
        assert read_folder(folder).kind == kind
        assert read_folder(folder).version == "0.1.0"


def test_a_folder_is_of_the_kind_that_it_says(tmp_path: Path) -> None:
    folder = rewrite(jobfolders.write_ablation(tmp_path / "a", 0.5), kind="ablate", hwsim="0.9.0")
    job = read_folder(folder)
    assert (job.kind, job.version) == ("ablate", "0.9.0")
    assert not {"kind", "hwsim"} & set(job.config)
    assert headline(job, results_of(job)) == "50.0 % all on"


def test_what_another_version_wrote_is_refused_with_its_name(tmp_path: Path) -> None:
    folder = rewrite(jobfolders.write_ablation(tmp_path / "a", 0.5), kind="dream", hwsim="9.9")
    with pytest.raises(InputError, match=rf"of no known job, written by hwsim 9\.9, this is {__version__}"):
        read_folder(folder)
    attacked = rewrite(attackfolder.write_attack(tmp_path / "b"), kind="attack", hwsim="9.9")
    (attacked / "results.json").write_text(json.dumps({"threats": [{"threat": "linf:0.1"}]}))
    with pytest.raises(InputError, match=r"results lack 'clean'; written by hwsim 9\.9"):
        results_of(read_folder(attacked))
