"""What an array does is counted, and a table turns the counts into energy and time."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from hwsim.cards.updates import parse_mode
from hwsim.crossbar.cell_array import CellDevice
from hwsim.crossbar.exact import FloatDevice
from hwsim.crossbar.pulses import coincidences
from hwsim.crossbar.synapse import Meter
from hwsim.crossbar.tiling import TiledDevice
from hwsim.crossbar.twin import TwinDevice
from hwsim.crossbar.updates.pulsed import digital_bytes, write_period
from hwsim.crossbar.work import Work, cost_of
from hwsim.devices.responses import LinearStepCell
from hwsim.ebm.build import layered_hopfield
from hwsim.ebm.costs import SquaredError
from hwsim.ebm.inference import infer
from hwsim.ebm.settle import Phase, Synchronous
from hwsim.errors import InputError
from hwsim.experiments.device_run.cost import cost_section, rows
from hwsim.experiments.device_run.job import plan_run
from hwsim.experiments.device_run.prices import CostTable, priced, read_table
from hwsim.experiments.requests import RunRequest
from hwsim.learning.ep import EquilibriumProp
from hwsim.rng import Streams

CELL = CellDevice(LinearStepCell(dw_min=0.001), desired_bl=31)


@pytest.mark.parametrize("rate", [0.02, 0.5], ids=["few", "many"])
def test_pulses_are_those_that_the_trains_carry(rate: float) -> None:
    """The expected count against the drawn ones: a sum of binomials, 6 standard errors of their mean."""
    rng = Streams(0).generator("data")
    pre, post = torch.rand(8, 20, generator=rng) + 0.1, torch.rand(8, 30, generator=rng) - 0.5
    meter = Meter(k_limit=1000.0)
    k = meter.count_train(pre, post, rate / 0.01)
    assert k.max() < 1000  # where trains saturate the count is a share of it, not what each row gets
    draws, update = [], Streams(0).generator("update")
    for _ in range(200):
        parts = coincidences(pre, post, k, 1000, 1, update)
        draws.append(sum(float((up + down).sum()) for up, down in parts))
    drawn = torch.tensor(draws)
    assert float(drawn.mean()) == pytest.approx(meter.pulses, abs=6 * float(drawn.std()) / 200**0.5)
    assert 6 * float(drawn.std()) / 200**0.5 < 0.05 * meter.pulses  # so that a factor in the count would be seen


def test_slots_of_saturated_trains_are_limited() -> None:
    device = CellDevice(LinearStepCell(dw_min=0.001), desired_bl=31)
    synapse = device.synapse(3, 4, Streams(0))
    synapse.program(torch.zeros(3, 4))
    synapse.update(torch.ones(2, 4), torch.ones(2, 3), 1.0)
    assert synapse.meter.slots == 2 * 31
    assert synapse.meter.pulses == pytest.approx(2 * 31 * 12)
    assert synapse.meter.programmed == 1
    synapse.meter.reset()
    assert synapse.meter == Meter(k_limit=31.0)


def test_reads_of_an_inference_are_steps_times_directions() -> None:
    """A held input is read once; each step reads the last array in both directions, the logits once more."""
    net = layered_hopfield([6, 5, 4], CELL, Streams(0))
    arrays = {"first": net.synapses[0], "last": net.synapses[2]}
    x = torch.rand(7, 6)
    first, last = cost_of(arrays, lambda: infer(net, x, solver=Synchronous(), phase=Phase(9)))
    assert (first.reads, first.reads_transpose) == (7, 0)
    assert (last.reads, last.reads_transpose) == (7 * 10, 7 * 9)
    assert last.multiplications == 4 * 5 * 7 * 19
    assert last.dac_conversions == 7 * 10 * 5 + 7 * 9 * 4
    assert last.adc_conversions == 7 * 10 * 4 + 7 * 9 * 5
    assert last.per(7).reads == 10


def test_reads_of_a_training_step_are_those_of_its_three_phases() -> None:
    net = layered_hopfield([6, 5, 4], CELL, Streams(0))
    phases = {"free": Phase(9), "nudged": Phase(4)}
    net.program(net.initial_weights(2.0, Streams(0)))
    rule = EquilibriumProp(0.5, solver=Synchronous(), **phases)
    x, labels = torch.rand(7, 6), torch.randint(4, (7,))
    step = lambda: rule.step(net, SquaredError(), x, labels, [0.1, 0.1], torch.Generator())  # noqa: E731
    (last,) = cost_of({"last": net.synapses[2]}, step)
    assert last.reads_transpose == 7 * (9 + 4 + 4)
    assert last.reads >= 7 * (9 + 4 + 4)
    assert last.updates == 2 * 7  # the difference is written as two outer products
    assert last.programmed == last.writes == 0


@pytest.mark.parametrize("mode", ["accumulate", "accumulate: 3"])
def test_a_digital_sum_is_counted_and_priced(mode: str) -> None:
    """3 x 5 weights: 4 bytes and, for each row of an update, one multiplication each; whole pulses, row by row."""
    synapse = parse_mode(mode).device(CELL).synapse(3, 5, Streams(0))

    def learn() -> None:
        for _ in range(3):
            synapse.update(torch.ones(2, 5), torch.tensor([[1.0, 0.5, 0.0]] * 2), 1.01 * CELL.cell.dw_min)
            synapse.tick()

    (work,) = cost_of({"layer": synapse}, learn)
    assert (write_period(synapse), work.memory_bytes) == (3 if mode.endswith("3") else 1, 60)
    assert (work.updates, work.digital_products) == (6, 6 * 15)
    steps = 1 if mode.endswith("3") else 3
    assert work.rows_written == 2 * steps
    assert work.slots == (6 + 3 if steps == 1 else 3 * (2 + 1))
    assert work.pulses == 5 * work.slots
    table = read_table()
    price = priced([work], table)
    assert price.digital_J == pytest.approx(90 * (table.digital.multiply_pJ + table.digital.add_pJ) * 1e-12)
    assert price.pulse_J == pytest.approx(work.pulses * table.pulse.energy_J)


def test_a_running_mean_is_a_second_matrix_and_a_multiplication_a_weight_and_step() -> None:
    synapse = parse_mode("accumulate, momentum: 0.5").device(CELL).synapse(3, 5, Streams(0))

    def learn() -> None:
        for _ in range(3):
            synapse.update(torch.ones(2, 5), torch.ones(2, 3), CELL.cell.dw_min)
            synapse.tick()

    (work,) = cost_of({"layer": synapse}, learn)
    assert (work.memory_bytes, work.digital_products) == (2 * 60, 6 * 15 + 3 * 15)


def test_memory_of_tiles_and_twins_adds_up() -> None:
    tiled = parse_mode("accumulate").device(TwinDevice(TiledDevice(CELL, 4, 4))).synapse(7, 10, Streams(0))
    assert digital_bytes(tiled) == 2 * 7 * 10 * 4
    assert digital_bytes(parse_mode("low-rank: 2").device(TiledDevice(CELL, 4, 4)).synapse(7, 10, Streams(0))) == (
        4 * (2 + 32) * 17
    )
    assert digital_bytes(CELL.synapse(7, 10, Streams(0))) == 0


def test_counting_leaves_the_meter_going() -> None:
    synapse = FloatDevice().synapse(3, 4, Streams(0))
    synapse.read(torch.ones(2, 4))
    (work,) = cost_of({"layer": synapse}, lambda: synapse.read(torch.ones(5, 4)))
    assert (work.reads, synapse.meter.vectors_read) == (5, 7)
    assert work.digital
    assert work.dac_conversions == work.adc_conversions == 0


def test_tiles_are_counted_one_by_one() -> None:
    """7 x 10 on tiles of at most 4 x 4: 2 x 3 tiles, each with its own converters."""
    synapse = TiledDevice(CELL, 4, 4).synapse(7, 10, Streams(0))
    (work,) = cost_of({"layer": synapse}, lambda: synapse.read(torch.ones(5, 10)))
    assert (work.arrays, work.rows, work.columns) == (6, 3.5, pytest.approx(10 / 3))
    assert work.multiplications == pytest.approx(5 * 7 * 10)
    assert work.adc_conversions == pytest.approx(5 * 7 * 3)  # every output is converted once for each of three tiles
    assert work.dac_conversions == pytest.approx(5 * 10 * 2)
    table = read_table()
    assert priced([work], table).seconds == pytest.approx(5 * table.read.seconds)  # side by side


def test_the_published_chip_is_reproduced() -> None:
    """Le Gallo et al. 2023: 64 cores of 256 x 256 at 63.1 TOPS and 9.76 TOPS/W."""
    table = read_table()
    assert table.read.energy_J == pytest.approx(13.4e-9, rel=5e-3)
    assert table.read.seconds == pytest.approx(133e-9, rel=5e-3)
    work = Work("layer", (256, 256), 1, 256, 256, False, reads=1e6)
    price = priced([work], table)
    assert price.read_J == pytest.approx(price.energy_by_share_J - price.digital_J) == pytest.approx(13.43e-3, rel=1e-3)
    assert 2 * work.multiplications / price.read_J == pytest.approx(9.76e12)
    assert 64 * 2 * work.multiplications / price.seconds == pytest.approx(63.1e12)
    four_phase = table.read.model_copy(update={"tops": 16.1, "tops_per_watt": 2.48})
    assert (four_phase.energy_J, four_phase.seconds) == (
        pytest.approx(52.9e-9, rel=5e-3),
        pytest.approx(521e-9, rel=5e-3),
    )


def test_prices_add_up() -> None:
    table = read_table()
    slow = Work("slow", (300, 20), 1, 300, 20, False, reads=2, reads_transpose=1, updates=5, slots=30, pulses=40)
    quick = Work("quick", (10, 10), 1, 10, 10, False, reads=1, programmed=1, writes=100)
    biases = Work("bias", (10, 1), 1, 10, 1, True, reads=1, updates=2)
    price = priced([slow, quick, biases], table)
    assert price.read_J == pytest.approx((3 * 2 + 1) * table.read.energy_J)  # 300 rows take two cores
    assert price.pulse_J == pytest.approx(140 * 1e-12)
    conversions = 2 * 300 + 20 + 10
    assert price.digital_J == pytest.approx(conversions * 0.9e-12 + (10 + 20) * 4.6e-12)
    assert price.energy_J == pytest.approx(price.read_J + price.pulse_J + price.digital_J)
    assert price.seconds == pytest.approx(3 * table.read.seconds + 30 * 100e-9)
    assert price.digital_reference_J == pytest.approx((3 * 6000 + 5 * 6000 + 100 + 30) * 4.6e-12)


def test_updates_without_pulses_are_digital() -> None:
    work = Work("layer", (10, 10), 1, 10, 10, False, updates=3)
    assert priced([work], read_table()).digital_J == pytest.approx(300 * 4.6e-12)


def test_a_table_says_where_its_numbers_are_from_and_mistakes_are_told(tmp_path: Path) -> None:
    table = read_table()
    assert all(any(part.source in line for line in table.assumptions()) for part in (table.read, table.pulse))
    path = tmp_path / "prices.yaml"
    path.write_text("name: x\nread: {cores: 1}\n")
    with pytest.raises(InputError, match=r"prices\.yaml:2: read\.source: missing"):
        read_table(path)
    assert isinstance(table, CostTable)


def test_the_cost_of_a_run_is_told_for_each_activity() -> None:
    settings = ["network.layers=[64, 12, 10]", "inference.steps=8", "inference.average_last=2"]
    job = plan_run(RunRequest(device="soft-bounds-cell", repeats=1, settings=settings))
    section = cost_section(job)
    assert section == cost_section(job)  # the device is seeded, and the count leaves no trace
    programming, inference, training = section["activities"]
    assert [layer["writes"] for layer in programming["layers"] if not layer["digital"]] == [64 * 12, 12 * 10]
    assert inference["layers"][0]["reads"] == 1
    assert inference["price"]["pulse_J"] == 0 < training["price"]["pulse_J"]
    told = dict(rows(section))
    assert told["reads of layer0.weight (12 x 64), back"][:2] == ["0, 0", "1, 0"]
    assert told["energy"][1].endswith("nJ")
    assert all(len(values) == 3 for values in told.values())
