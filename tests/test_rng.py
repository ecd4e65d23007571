"""Random streams: named, reproducible, and independent of what else is drawn."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from hwsim.rng import STREAMS, Streams

SEEDS = st.integers(-(2**63), 2**63)
NAMES = st.sampled_from(STREAMS)
GOLDEN = 2998286683343617638  # by hand: sha256 of "(7, ('layer', '1'), 'read')", first 8 bytes, little-endian, halved


def draws(streams: Streams, name: str) -> torch.Tensor:
    return torch.rand(8, generator=streams.generator(name))


@given(seed=SEEDS, name=NAMES)
def test_a_stream_starts_at_the_same_place_each_time(seed: int, name: str) -> None:
    assert torch.equal(draws(Streams(seed), name), draws(Streams(seed), name))
    assert 0 <= Streams(seed).seed_of(name) < 2**63


def test_streams_children_and_seeds_all_differ() -> None:
    seeds = [
        streams.seed_of(name)
        for root in range(5)
        for streams in (
            Streams(root),
            Streams(root).child(0),
            Streams(root).child(1),
            Streams(root).child(0, 1),
            Streams(root).child("layer", 0),
            Streams(root).child("layer0"),
        )
        for name in STREAMS
    ]
    assert len(set(seeds)) == len(seeds) == 5 * 6 * len(STREAMS)


@given(seed=SEEDS, path=st.lists(st.text(max_size=5), max_size=3))
def test_a_path_may_be_given_at_once_or_in_steps(seed: int, path: list[str]) -> None:
    stepwise = Streams(seed)
    for part in path:
        stepwise = stepwise.child(part)
    assert stepwise == Streams(seed).child(*path)


@given(seed=SEEDS, name=NAMES, other=st.integers(0, 2**31))
def test_varying_one_stream_holds_the_others(seed: int, name: str, other: int) -> None:
    streams = Streams(seed).child("part")
    varied = Streams(seed).vary(**{name: other}).child("part")
    assert varied.seed_of(name) == Streams(other).child("part").seed_of(name)
    for held in set(STREAMS) - {name}:
        assert varied.seed_of(held) == streams.seed_of(held)
    assert Streams(seed).vary(**{name: other}).vary(**{name: seed}).seed_of(name) == Streams(seed).seed_of(name)


def test_unknown_streams_are_named_in_the_error() -> None:
    for wrong in (lambda: Streams(0).generator("weights"), lambda: Streams(0).vary(weights=1)):
        with pytest.raises(ValueError, match="random stream 'weights' is unknown; expected one of data, init"):
            wrong()


def test_seeds_are_the_same_in_every_process() -> None:
    """Python's own hash is salted per process; the streams must not be."""
    code = "from hwsim.rng import Streams; print(Streams(7).child('layer', 1).seed_of('read'))"
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(told.stdout) == Streams(7).child("layer", 1).seed_of("read")


def test_seeds_stay_what_they_were() -> None:
    """A pinned figure: results of earlier versions must be repeatable, so a change here is a breaking one."""
    assert Streams(7).child("layer", 1).seed_of("read") == GOLDEN
    assert Streams(0).vary(read=7).child("layer", 1).seed_of("read") == GOLDEN


def test_a_seed_is_its_value_and_not_its_type() -> None:
    for same in (np.int64(7), np.uint8(7), 7.0):
        assert Streams(same).seed_of("data") == Streams(7).seed_of("data")
