"""Random streams: every source of randomness is named, seeded apart and passed as an argument.

A stream's seed is the SHA-256 of (root seed, path, stream name), so adding a layer, a repeat or a
stream never shifts another one's draws, and any one of them can be varied while the others are held.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace

import torch

STREAMS = ("data", "init", "device", "read", "update", "attack", "corruption")


@dataclass(frozen=True)
class Streams:
    """A seed and a path below it; ``generator(name)`` starts the stream of that name.

    ``roots`` replaces the root seed of single streams: ``Streams(0).vary(read=3)`` keeps data,
    initialisation and devices and draws other read noise.

    >>> import hwsim as hw
    >>> streams = hw.Streams(0)
    >>> streams.generator("read").initial_seed() == streams.vary(device=7).generator("read").initial_seed()
    True
    """

    seed: int
    path: tuple[str, ...] = ()
    roots: tuple[tuple[str, int], ...] = field(default=())

    def child(self, *path: object) -> Streams:
        """The streams of one part (a layer, a repeat), independent of every other part's."""
        return replace(self, path=self.path + tuple(str(part) for part in path))

    def vary(self, **roots: int) -> Streams:
        """The same streams with other root seeds for those named. Raises ValueError for a name not in STREAMS."""
        for name in roots:
            _known(name)
        return replace(self, roots=tuple(sorted({**dict(self.roots), **roots}.items())))

    def seed_of(self, name: str) -> int:
        """The 63-bit seed of one stream."""
        root = dict(self.roots).get(_known(name), self.seed)
        digest = hashlib.sha256(repr((int(root), self.path, name)).encode()).digest()
        return int.from_bytes(digest[:8], "little") >> 1

    def generator(self, name: str, device: str | torch.device = "cpu") -> torch.Generator:
        """A new generator at the start of the stream; two calls give two generators with equal draws."""
        return torch.Generator(device).manual_seed(self.seed_of(name))


def generator_of(rng: int | torch.Generator, name: str) -> torch.Generator:
    """A generator as it is, or that of a seed's stream ``name``."""
    return rng if isinstance(rng, torch.Generator) else Streams(rng).generator(name)


def _known(name: str) -> str:
    if name not in STREAMS:
        raise ValueError(f"random stream {name!r} is unknown; expected one of {', '.join(STREAMS)}")
    return name
