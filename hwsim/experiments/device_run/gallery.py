"""The attacked images that a run keeps: a few of every budget and case, of its first repeat."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from torch import Tensor

from hwsim.cards.model import InferenceConfig
from hwsim.ebm.inference import infer
from hwsim.ebm.network import Network
from hwsim.experiments.evaluation import relaxation
from hwsim.experiments.gallery import FILE, Gallery, file_stem, perturbed, read_gallery, write_gallery
from hwsim.rng import Streams
from hwsim.robustness.corruptions.condition import Condition

FOLDER = "gallery"
KEPT = 24
"""Images, the first ones: five of them are shown."""


def keep_attacked(
    folder: Path,
    case: str,
    condition: Condition,
    net: Network,
    clean: Tensor,
    attacked: Tensor,
    labels: Tensor,
    classes: Sequence[object],
    inference: InferenceConfig,
    streams: Streams,
) -> None:
    """Write the first images of one budget, (N, C, H, W) in [0, 1], with the label that one read by ``net`` gave."""
    net.reseed_reads(streams)
    read = [infer(net, images[:KEPT], **relaxation(inference))[0] for images in (clean, attacked)]
    before = perturbed("clean", clean[:KEPT], read[0])
    after = perturbed(f"{condition.name.removeprefix('pgd-')}:{condition.level:g}", attacked[:KEPT], read[1])
    kept = Gallery(before, labels[:KEPT].cpu().numpy(), [after], [str(name) for name in classes])
    write_gallery(folder / FOLDER / f"{file_stem(case)}-{condition.name}-{condition.level:g}.safetensors", kept)


def galleries(
    folder: Path, cases: Sequence[str], attacks: Sequence[tuple[str, float]]
) -> Iterator[tuple[str, Gallery]]:
    """(case, its images) of the first and the last case of a run that have any.

    ``attacks``: (condition, level) of every budget in ascending order. The images of a card's stronger
    ``evaluation.attack`` stand in place of PGD's where there are both.
    """
    kept_cases = [(case, kept) for case in cases if (kept := _of_case(folder, file_stem(case), attacks)) is not None]
    yield from kept_cases[:: max(1, len(kept_cases) - 1)]


def _of_case(folder: Path, stem: str, attacks: Sequence[tuple[str, float]]) -> Gallery | None:
    stronger = read_gallery(folder / "attacks" / f"{stem}-0" / FILE)
    if stronger is not None:
        return stronger
    parts = [read_gallery(folder / FOLDER / f"{stem}-{name}-{level:g}.safetensors") for name, level in attacks]
    there = [part for part in parts if part is not None]
    if not there:
        return None
    return Gallery(there[0].clean, there[0].labels, [part.attacked[0] for part in there], there[0].classes)
