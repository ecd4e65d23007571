"""The images that an attack keeps for its page."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file
from torch import Tensor

from hwsim.experiments.attack.job import AttackJob
from hwsim.experiments.attack.work import Unit
from hwsim.experiments.gallery import FILE, Gallery, Perturbed, perturbed, write_gallery
from hwsim.rng import Streams


def keep_gallery(job: AttackJob) -> Path:
    """Write the first slice's worst images of every threat, with the labels that the first instance gives them."""
    age, target = job.moments[0], job.targets[0]
    net = job.nets[0] if job.nets else None
    if net is not None:
        net.reseed_reads(Streams(job.seed).child("gallery"))
        if age is not None:
            net.age(age)
    classifier = job.subject.classifier(net)
    _, x, y = Unit(job.threats[0], age, target, 0).images(job)

    def read(name: str, images: Tensor) -> Perturbed:
        return perturbed(name, images, classifier.logits(images.to(job.place)))

    clean = read("clean", x)
    attacked = [
        read(str(threat), load_file(Unit(threat, age, target, 0).path(job))["images"]) for threat in job.threats
    ]
    write_gallery(job.folder / FILE, Gallery(clean, y.cpu().numpy(), attacked, [str(c) for c in job.data.classes]))
    return job.folder / FILE
