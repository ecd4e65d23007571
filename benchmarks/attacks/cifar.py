"""What attacks and corruptions leave of the shelf's CIFAR-10 models, in float, and of ep-cnn-small on three devices.

    python benchmarks/attacks/cifar.py --data-dir DIR                   # print the table
    python benchmarks/attacks/cifar.py --data-dir DIR --write           # and put it into benchmarks/attacks/README.md
    python benchmarks/attacks/cifar.py --data-dir DIR --estimate        # say what it will cost, and stop

Models whose weights are not shipped are told and left out; `--weights ep-cnn-small=FILE` gives some. Every number
comes from the folder of a `hwsim attack` or `hwsim corrupt` below runs/attacks-cifar, which an interrupted run goes
on with. Where attackers see a chip they average gradients over its reads (EOT).
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(Path(__file__).parent))

from table import Lines, flags, least, told  # noqa: E402 - the file beside this one

from hwsim.cards import shelf  # noqa: E402
from hwsim.cards.device import read_device  # noqa: E402
from hwsim.cards.read import read_model  # noqa: E402
from hwsim.errors import InputError  # noqa: E402
from hwsim.experiments.attack import results as attackresults  # noqa: E402
from hwsim.experiments.attack.plan import plan_attack  # noqa: E402
from hwsim.experiments.attack.work import run_attack  # noqa: E402
from hwsim.experiments.corruption import results as corruptresults  # noqa: E402
from hwsim.experiments.corruption.job import plan_corrupt, run_corrupt  # noqa: E402
from hwsim.experiments.requests import AttackRequest, CorruptRequest  # noqa: E402
from hwsim.experiments.subject import WEIGHTS, Subject, programmed_instances, read_subject  # noqa: E402
from hwsim.jobs.records import plain  # noqa: E402
from hwsim.jobs.store import write_text  # noqa: E402
from hwsim.rng import Streams  # noqa: E402
from hwsim.robustness.attacks import input_gradient  # noqa: E402

RUNS = ROOT / "runs" / "attacks-cifar"
README = Path(__file__).parent / "README.md"
BEGIN, END = "<!-- cifar:begin -->", "<!-- cifar:end -->"
NEAR, FAR = "linf:2/255", "linf:8/255"
"""Where natural robustness would show, and the budget that adversarial training is judged at."""
ON_DEVICES = "ep-cnn-small"
DEVICES = ("ecram", "capacitor", "pcm-inference")
SEVERITIES = "1,3,5"
CHECKED = 25


@dataclass(frozen=True)
class Settings:
    """What was asked for on the command line."""

    examples: int
    device_examples: int
    chips: int
    seed: int
    data_dir: Path | None
    weights: dict[str, Path]

    def subject(self, name: str) -> tuple[Subject, Any]:
        return read_subject(name, self.weights.get(name), None, self.data_dir)

    def who(self, name: str) -> dict[str, Any]:
        return {"model": name, "weights": self.weights.get(name), "data_dir": self.data_dir, "seed": self.seed}


def models(given: Settings) -> tuple[list[str], list[str]]:
    """CIFAR-10 cards with weights, and a sentence on each without. EP first, then by name."""
    found, missing = [], []
    for name in sorted(shelf.items("models"), key=lambda name: (name != ON_DEVICES, name)):
        if read_model(name)[1].data != "cifar10":
            continue
        path = given.weights.get(name, ROOT / "models" / name / WEIGHTS)
        if path.exists():
            found.append(name)
        else:
            missing.append(f"{name}: no weights are shipped; `hwsim train --model {name}` makes them.")
    return found, missing


def seconds(work: Callable[[], object]) -> float:
    """CPU time of one call, after a first one."""
    work()
    started = time.process_time()
    work()
    return time.process_time() - started


def cost(given: Settings, names: Sequence[str]) -> Iterator[tuple[str, float]]:
    """CPU seconds at most of every row, from the time of a gradient and a query on ten images.

    Images that fall leave the ensemble early, so it usually takes a fraction; a row already kept takes nothing.
    """
    probe = 10
    for name in names:
        subject, data = given.subject(name)
        x, y = data.test[:probe]
        surrogate, classifier = subject.surrogate("implicit"), subject.classifier()
        gradient = seconds(lambda a=surrogate, x=x, y=y: input_gradient(a, x, y, "margin")) / probe
        query = seconds(lambda c=classifier, x=x: c.logits(x)) / probe
        images = given.examples
        # PGD, quick with its checks, the standard ensemble (its FAB takes about twice its gradients), Square.
        climbs = 80 * images + 200 * images + 16 * 40 * min(CHECKED, images) + 2800 * images
        asks = (1000 + 5000 + 1000) * images + 1000 * CHECKED + 45 * images
        yield name, climbs * gradient + asks * query
        if name != ON_DEVICES:
            continue
        for device in DEVICES:
            states = RUNS / "probe" / device
            (instance,) = programmed_instances(subject, read_device(device).device, 1, Streams(0), states)
            through, classifier = subject.surrogate("unrolled-10", instance), subject.classifier(instance)
            reads = seconds(lambda a=through, x=x, y=y: input_gradient(a, x, y, "margin")) / probe
            asked = seconds(lambda c=classifier, x=x: c.logits(x)) / probe
            images = given.device_examples * given.chips
            climbs = 40 * images + 16 * 20 * min(CHECKED, images)
            yield f"{name} on {device}", climbs * gradient + 2 * 20 * images * reads + (45 + 60) * images * asked


def attacked(name: str, threat: str, **options: Any) -> dict[str, Any]:
    job = plan_attack(AttackRequest(threats=[threat], out=RUNS / name, check_images=CHECKED, **options))
    return plain(attackresults.write_results(job, run_attack(job, Lines(name))).threats[0])


def corrupted(name: str, **options: Any) -> float:
    job = plan_corrupt(CorruptRequest(out=RUNS / name, severities=SEVERITIES, **options))
    return corruptresults.write_results(job, run_corrupt(job, Lines(name))).means[0].accuracy


def in_float(given: Settings, name: str) -> Sequence[str]:
    common = {**given.who(name), "examples": given.examples}
    pgd = attacked(f"{name}-pgd", NEAR, attack="pgd", checks=False, **common)
    square = attacked(f"{name}-square", NEAR, attack="square-1000", checks=False, **common)
    quick = attacked(f"{name}-quick", NEAR, attack="quick", cascade=True, **common)
    far = attacked(f"{name}-standard-far", FAR, attack="standard", cascade=True, checks=False, **common)
    mean = corrupted(f"{name}-corrupt", **common)
    lowest = least(pgd["reported"], square["reported"], quick["reported"])
    parts = (quick["clean"], pgd["worst"], square["worst"], quick["worst"])
    return (name, "float", *map(told, parts), told(lowest), told(far["worst"]), f"{100 * mean:.1f}", flags(quick))


def on_device(given: Settings, name: str, device: str) -> Sequence[str]:
    common = {**given.who(name), "examples": given.device_examples, "device": device, "instances": given.chips}
    stem = f"{name}-{device}"
    known = attacked(f"{stem}-known", NEAR, attack="pgd-20", draws=5, **common)
    read = {"knows": "device", "gradient": "unrolled-10", "eot": 2, "checks": False}
    eot = attacked(f"{stem}-eot", NEAR, attack="pgd-10", draws=5, **read, **common)
    square = attacked(f"{stem}-square", NEAR, attack="square-100", draws=5, checks=False, **common)
    mean = corrupted(f"{stem}-corrupt", draws=1, **common)
    parts = (known["clean"], least(known["worst"], eot["worst"]), square["attacks"]["square"])
    lowest = least(known["reported"], eot["reported"], square["reported"])
    return (name, device, *map(told, parts), "", told(lowest), "", f"{100 * mean:.1f}", flags(known))


def rows(given: Settings, names: Sequence[str]) -> list[Sequence[str]]:
    table = [in_float(given, name) for name in names]
    if ON_DEVICES in names:
        table += [on_device(given, ON_DEVICES, device) for device in DEVICES]
    return table


def markdown(table: Sequence[Sequence[str]], missing: Sequence[str], given: Settings) -> str:
    near = ("clean", f"PGD, {NEAR}", "Square", "quick ensemble", "to report")
    head = ("model", "on", *near, f"AutoAttack, {FAR}", "15 corruptions", "flags")
    lines = [head, ["---"] * len(head), *table]
    note = (
        f"First {given.examples} test images of CIFAR-10; {given.device_examples} on {given.chips} programmed "
        "chip(s) of each device. Accuracy in % with its 95 % interval."
    )
    return "\n".join(
        [note, "", *("| " + " | ".join(line) + " |" for line in lines), "", *(f"- {text}" for text in missing)]
    ).rstrip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--examples", type=int, default=100, help="test images in float")
    parser.add_argument("--device-examples", type=int, default=50, help="test images on a device")
    parser.add_argument("--chips", type=int, default=1, help="programmed chips of each device")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--data-dir", type=Path, help="folder that holds CIFAR-10")
    parser.add_argument("--weights", action="append", default=[], metavar="MODEL=FILE", help="in place of shipped ones")
    parser.add_argument("--only", action="append", help="a model; repeat it [default: all with weights]")
    parser.add_argument("--estimate", action="store_true", help="print the cost and stop")
    parser.add_argument("--write", action="store_true", help="replace the table in README.md")
    asked = parser.parse_args()
    torch.set_num_threads(1)
    weights = {name: Path(file) for name, _, file in (text.partition("=") for text in asked.weights)}
    given = Settings(asked.examples, asked.device_examples, asked.chips, asked.seed, asked.data_dir, weights)
    try:
        names, missing = models(given)
        names = [name for name in names if asked.only is None or name in asked.only]
        for sentence in missing:
            print(f"left out: {sentence}", file=sys.stderr)
        total = 0.0
        for row, most in cost(given, names):
            total += most
            print(f"{row}: at most {most:.0f} s", file=sys.stderr, flush=True)
        print(f"at most {total / 60:.0f} min of one core; images that fall leave early", file=sys.stderr, flush=True)
        if asked.estimate:
            return
        text = markdown(rows(given, names), missing, given)
    except InputError as error:
        sys.exit(f"error: {error}")
    print(text)
    if asked.write:
        before, _, rest = README.read_text(encoding="utf-8").partition(BEGIN)
        write_text(README, f"{before}{BEGIN}\n{text}\n{END}{rest.partition(END)[2]}")


if __name__ == "__main__":
    main()
