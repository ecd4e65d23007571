"""
A sweep of your own
===================

A study is a folder with a grid in YAML. Finished points are never measured twice, and the same command goes on.
"""

import tempfile
from pathlib import Path

import matplotlib.pyplot as plt

import hwsim as hw

folder = Path(tempfile.mkdtemp()) / "nudge"
folder.mkdir()
(folder / "study.yaml").write_text(
    """
name: nudge
question: How strong may the nudge be?
measurement: in-situ-accuracy
model: digits-mlp
seeds: [0, 1]
set: {in_situ.epochs: 2, network.layers: [64, 32, 10], evaluation.examples: 200}
blocks:
  nudge:
    title: Accuracy against beta
    axes:
      device: [ideal, soft-bounds-cell]
      beta: {keys: [in_situ.beta], values: [0.1, 0.5, 1.0]}
    figure: {x: beta, label: strength of the nudge}
"""
)
results = hw.sweep(folder, out=folder.parent / "results")

# %%
# Results are typed, and a table of pandas where that is installed.

figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
frame = results.to_pandas()
print(frame[["device", "beta", "seed", "accuracy_share"]].to_string())
for device, part in frame.groupby("device"):
    means = part.groupby("beta")["accuracy_share"].mean()
    axes.plot(means.index, 100 * means, "o-", label=device)
axes.set(xlabel="strength of the nudge", ylabel="accuracy (%)", title="Two epochs in situ")
axes.legend()
plt.show()
