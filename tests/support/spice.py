"""ngspice as a judge: the operating point of a netlist."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

NEEDS_SPICE = pytest.mark.skipif(shutil.which("ngspice") is None, reason="NOT TESTED against SPICE: no ngspice here")


def operating_point(netlist: str, folder: Path) -> dict[str, float]:
    """What ngspice finds: voltages as ``v(node)``, currents of sources as ``i(name)``."""
    control = f".control\nset filetype=ascii\nop\nwrite {folder / 'out.raw'}\nquit\n.endc\n.end\n"
    (folder / "net.cir").write_text(netlist.replace(".op\n.end\n", control))
    subprocess.run(["ngspice", "-b", str(folder / "net.cir")], capture_output=True, check=True, timeout=60)
    head, values = (folder / "out.raw").read_text().split("Values:\n")
    names = [line.split()[1] for line in head.split("Variables:\n")[1].splitlines()]
    return dict(zip(names, map(float, values.split()[1:]), strict=True))
