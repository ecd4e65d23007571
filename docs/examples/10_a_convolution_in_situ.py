"""
A convolutional network in situ
===============================

A kernel is used at many places of an image, so each of its devices gets many pulses a step that largely cancel; on
devices whose steps differ up and down they wear the weight. Summing the update first and writing whole pulses keeps it.
"""

import matplotlib.pyplot as plt

import hwsim as hw

data = hw.load_data("digits")
layers = [(1, 8, 8), hw.Conv(8, 3, stride=2), hw.Conv(16, 3, stride=2), 10]
rule = hw.EquilibriumProp(beta=0.5, free=hw.Phase(10, 3), nudged=hw.Phase(6, 3), solver=hw.OddEven())
ecram = hw.device("ecram")

devices = {
    "float": hw.FloatDevice(),
    "ECRAM, a train a patch": ecram,
    "ECRAM, summed, then written": hw.UpdateMode("accumulate").device(ecram),
}
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for name, device in devices.items():
    net = hw.hopfield(layers, device, seed=0)
    records = hw.train(net, rule, data.train[:800], rates=[1.0, 1.0, 0.5], epochs=4, seed=0)
    axes.plot([r.epoch for r in records], [100 * r.accuracy_train for r in records], "o-", label=name)
axes.set(xlabel="epoch", ylabel="accuracy while training (%)", title="How an update is written")
axes.legend(fontsize=8)
plt.show()
