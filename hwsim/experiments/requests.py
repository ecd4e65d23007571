"""What a user asks of each job, as the command line and Python do: one dataclass a job, nothing else is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from hwsim.jobs.request import REQUIRED, AcceleratedRequest, TrainingRequest, option


@dataclass(frozen=True, kw_only=True)
class RunRequest(TrainingRequest):
    """Of ``hwsim run``."""

    device: str | None = option(None, "Shelf name, folder or rpu-config.yaml. (default: ideal)")
    repeats: int = option(3, "Trainings and device instances, each with its own streams.", least=1)


@dataclass(frozen=True, kw_only=True)
class TrainRequest(TrainingRequest, AcceleratedRequest):
    """Of ``hwsim train``."""

    device: str | None = option(None, "Train in situ on this device. (default: float)")


@dataclass(frozen=True, kw_only=True)
class AblationRequest(TrainingRequest):
    """Of ``hwsim ablate``."""

    device: str = option(REQUIRED, "Shelf name, folder or rpu-config.yaml.")
    seeds: int = option(3, "Trainings and device instances of every variant.", least=1)
    case: str = option("in-situ", "in-situ, or programmed: weights trained in float.")
    age: float = option(0.0, "Measure so many seconds after programming, where devices drift.", least=0, most=1e12)
    properties: list[str] = option([], "Only this one, again for more. (default: all that it has)", "--property")
    updates: bool = option(
        False, "In place of properties: exact, accumulated, per-sample updates by exact, noisy reads.", "--updates"
    )


@dataclass(frozen=True, kw_only=True)
class SubjectRequest(AcceleratedRequest):
    """Of a job on a model with its weights."""

    model: str = option("digits-mlp", "Shelf name, folder or model.yaml; or your torch module, ./net.py:MyNet.")
    weights: Path | None = option(None, "A safetensors file. (default: the one beside the card)")
    device: str | None = option(None, "Program the weights onto this device. (default: float)")
    instances: int | None = option(
        None, "Programmed device instances. (default: 5; 1 where devices do not differ)", least=1
    )
    draws: int = option(20, "Classifications of an image on each instance, each on fresh read noise.", least=1)
    examples: int | None = option(None, "The first N test images. (default: 1000, or all)", least=1)


@dataclass(frozen=True, kw_only=True)
class AttackRequest(SubjectRequest):
    """Of ``hwsim attack``."""

    threats: list[str] = option([], "NORM:BUDGET; repeat it. (default: linf:8/255)", "--threat")
    attack: str | None = option(None, "A preset or one attack. (default: standard)")
    gradient: str | None = option(
        None, "Through the equilibrium: implicit, unrolled-T, nudged-B... (default: implicit)"
    )
    knows: str | None = option(None, "device, conductances, float-weights or nothing. (default: conductances)")
    eot: int = option(10, "Noise draws behind each gradient or query of a noisy copy.", least=1)
    transfer_from: list[str] = option([], "MODEL or MODEL:WEIGHTS.safetensors, whose images are tried; repeat it.")
    seeds: str = option("1", "Attack seeds: how many, or which, 0,1,2; the worst over them.")
    age: str | None = option(None, "Times after programming, of devices that drift: 3600 or 1h,1month.")
    cascade: bool = option(False, "Attack only what earlier attacks left: faster.", "--cascade")
    checks: bool = option(True, "The checks that unmask, after white-box attacks.")
    check_images: int = option(100, "Images behind the checks, at most.", least=1)
    budget: str | None = option(
        None, "Time that it may take: 20min, 1h30m, none. (default: all of it, up to an hour; beyond it, it asks)"
    )


@dataclass(frozen=True, kw_only=True)
class CorruptRequest(SubjectRequest):
    """Of ``hwsim corrupt``."""

    types: str = option("common", "common (15), all (19), none, or names with commas between them.")
    severities: str = option("1,2,3,4,5", "From 1 to 5, with commas between them.")
    noise: str = option("", "Standard deviations of plain Gaussian noise, pixel units.")
    salt_and_pepper: str = option("", "Shares of pixel values set to 0 or 1.")
    baseline: str | None = option(None, "MODEL or MODEL:WEIGHTS.safetensors, for mCE.")
    corrupted_dir: Path | None = option(None, "Published CIFAR-10-C or CIFAR-100-C files.")
    age: str | None = option(None, "Time after programming, of devices that drift: 3600 or 1h.")
