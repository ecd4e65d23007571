"""``hwsim export spice`` of a resistive network: ngspice finds the node voltages that a run has settled to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from spice import NEEDS_SPICE, operating_point

import hwsim.ebm.netlist
from hwsim.ebm.resistive import ResistiveNetwork
from hwsim.ebm.settle import Phase, UpDown, settle
from hwsim.experiments.device_run import work
from hwsim.experiments.device_run.job import plan_run
from hwsim.experiments.export.spice import of_run
from hwsim.experiments.kinds import read_folder
from hwsim.experiments.requests import RunRequest
from hwsim.jobs.job import Quiet

Call = Callable[..., tuple[int, str, str]]
DIODES = {"ideal": None, "shockley": "{saturation_A: 1e-9, ideality: 1.3}"}


@pytest.fixture(scope="module", params=DIODES)
def finished(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of a small resistive network on a device with wires, weights as they were drawn."""
    folder = tmp_path_factory.mktemp(request.param)
    card = folder / "wired.yaml"
    card.write_text("{name: wired, cell: ideal, array: {wire_resistance_ohm: 4, wire_solver: exact}}")
    settings = ["network.layers=[64,6,10]", "learning.epochs=0", "in_situ.epochs=0", "evaluation.examples=10"]
    settings += ["evaluation.corruptions.types=[]", "evaluation.pgd.epsilon=[]", "evaluation.input_noise.sigma=[]"]
    settings += [f"network.diode={DIODES[request.param]}"] if DIODES[request.param] else []
    named: Any = {"model": "drn-digits", "device": str(card), "settings": settings, "out": folder / "run"}
    job = plan_run(RunRequest(repeats=1, **named))
    work.run(job, Quiet())
    return job.folder


def voltages(point: dict[str, float]) -> torch.Tensor:
    names = [f"v(n0_{k})" for k in range(6)] + [f"v(n1_{k})" for k in range(20)]
    return torch.tensor([point[name] for name in names], dtype=torch.float64)


def check_exported(hwsim_here: Call, finished: Path, case: str) -> None:
    """All node voltages to 1e-6 of the largest, in float64, with the conductances that the run has kept."""
    out = finished.parent / "net.cir"
    options = ("--case", case, "--image", "2", "--wire-ohm", "0")
    assert hwsim_here("export", "spice", str(finished), "--out", str(out), *options)[0] == 0
    source = of_run(read_folder(finished), case=case)
    net, x = source.net, source.data.test.x[2:3].double()
    if case != "float":  # the devices' own conductances, without the wires that the run's weights include
        unit_uS = cast(ResistiveNetwork, net).unit_uS
        net.program([source.conductances[f"layer{i}.weight"]["g_uS"] / unit_uS for i in range(2)])
    net = net.mapped(lambda synapse: type(synapse)(synapse.weight().double()))  # type: ignore[call-arg]
    given = net.given(x)
    phase = Phase(20_000, tolerance=1e-13, stop_early=True)
    expected = torch.cat([layer[0] for layer in settle(given, given.start(), solver=UpDown(), phase=phase).state])
    spice = voltages(operating_point(out.read_text(), finished.parent))
    assert (spice - expected).abs().max() < 1e-6 * expected.abs().max()


@NEEDS_SPICE
def test_spice_finds_the_voltages_of_a_run(hwsim_here: Call, finished: Path) -> None:
    for case in ("float", "in-situ"):
        check_exported(hwsim_here, finished, case)
    # Wires of the device are laid out as ladders: what they take grows with their resistance.
    points = []
    for ohm in ("0", "0.04", None):
        out = finished.parent / "net.cir"
        options = ("--image", "2") if ohm is None else ("--image", "2", "--wire-ohm", ohm)
        assert hwsim_here("export", "spice", str(finished), "--out", str(out), *options)[0] == 0
        assert ("wire segments of 4 ohm" in out.read_text()) == (ohm is None)
        points.append(voltages(operating_point(out.read_text(), finished.parent)))
    none, few, own = points
    taken = (own - none).abs().max()
    assert taken > 1e-4 * none.abs().max()
    assert (own - none - 100 * (few - none)).abs().max() < 0.05 * taken


def changed(change: Callable[[str], str | None]) -> Callable[..., Iterator[str]]:
    right = hwsim.ebm.netlist._lines

    def lines(*given: Any) -> Iterator[str]:
        yield from (line for each in right(*given) if (line := change(each)) is not None)

    return lines


def _reversed(line: str) -> str:
    """Shockley's turned round; an ideal one that conducts on the other side."""
    parts = line.split(" ")
    if line.startswith("d0_"):
        return " ".join([parts[0], parts[2], parts[1], *parts[3:]])
    return line.replace(" < ", " % ").replace(" > ", " < ").replace(" % ", " > ") if line.startswith("b0_") else line


BUGS: dict[str, Callable[[str], str | None]] = {
    "diodes reversed": _reversed,
    "conductances of half the size": lambda line: f"{line} m=0.5" if line.startswith("r0_") else line,
    "amplifiers that draw nothing": lambda line: None if line.startswith("f0_") else line,
}


@NEEDS_SPICE
@pytest.mark.parametrize("bug", BUGS)
def test_a_wrong_circuit_is_rejected(
    hwsim_here: Call, finished: Path, bug: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hwsim.ebm.netlist, "_lines", changed(BUGS[bug]))
    with pytest.raises(AssertionError):
        check_exported(hwsim_here, finished, "in-situ")


def test_a_network_that_is_no_circuit_wants_an_array(hwsim_here: Call, tmp_path: Path) -> None:
    code, _, err = hwsim_here("export", "spice", "digits-mlp", "--out", str(tmp_path / "net.cir"))
    assert code == 2
    assert "give --array, one of layer0.weight, layer1.weight" in err
