"""
A measured device: from pulses to what limits it
================================================

A file of measured conductances becomes a device: two commands on the command line, shown here on a trace that a known
cell made, so that the answer is known.
"""

import subprocess
import sys
import tempfile
from pathlib import Path

import matplotlib.pyplot as plt
import torch

import hwsim as hw

folder = Path(tempfile.mkdtemp())

# %%
# Two cycles of 150 pulses up and 150 down, on a device whose steps shrink towards its bounds; in microsiemens.

rng = torch.Generator().manual_seed(0)
g, rows, pulse = torch.tensor(5.0), ["pulse,polarity,cycle,conductance_uS"], 0
for cycle in range(2):
    for polarity in (1, -1):
        for _ in range(150):
            step = 0.020 * (25 - g) if polarity > 0 else -0.028 * (g - 3)
            g = g + step * (1 + 0.3 * torch.randn((), generator=rng))
            read = g + 0.05 * torch.randn((), generator=rng)
            rows.append(f"{pulse},{polarity},{cycle},{read:.4f}")
            pulse += 1
(folder / "traces.csv").write_text("\n".join(rows))

# %%
# The fit chooses a response on held-out pulses, gives intervals, and runs free against the whole trace.

command = [sys.executable, "-m", "hwsim", "device", "fit", str(folder / "traces.csv"), "--out", str(folder / "mine")]
done = subprocess.run(command, capture_output=True, text=True, check=True)
print(done.stdout)

# %%
# What it wrote is a device like any other.

net = hw.hopfield([64, 32, 10], hw.device(folder / "mine"), seed=0)
print(net.synapses[0].conductances().keys())
image = plt.imread(folder / "mine" / "fit.png")
figure, axes = plt.subplots(figsize=(8, 8 * image.shape[0] / image.shape[1]), layout="constrained")
axes.imshow(image)
axes.set_axis_off()
plt.show()
