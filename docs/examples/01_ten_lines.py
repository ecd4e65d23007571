"""
An energy-based model in situ, in ten lines
===========================================

A network learns handwritten digits by equilibrium propagation on simulated ECRAM arrays: every read and every update is
the device's. The attack is judged on fresh draws of read noise.
"""

import matplotlib.pyplot as plt

import hwsim as hw

data = hw.load_data("digits")
net = hw.hopfield([64, 128, 10], hw.device("ecram"), seed=0)
rule = hw.EquilibriumProp(beta=1.0, free=hw.Phase(20, 5), nudged=hw.Phase(10, 5), solver=hw.Synchronous(0.5))
epochs = hw.train(net, rule, data.train, rates=[0.5, 0.25], epochs=8, seed=0)
print("accuracy:", hw.accuracy(net, data.test, draws=3))

# %%
# The same network, if it learns in float, shows what the devices cost.

in_float = hw.hopfield([64, 128, 10], seed=0)
float_epochs = hw.train(in_float, rule, data.train, rates=[0.5, 0.25], epochs=8, seed=0)

figure, axes = plt.subplots(figsize=(6, 3.2), layout="constrained")
for name, records in (("ECRAM", epochs), ("float", float_epochs)):
    axes.plot([r.epoch for r in records], [100 * r.accuracy_train for r in records], "o-", label=name)
axes.set(xlabel="epoch", ylabel="accuracy while training (%)", title="Learning in situ and in float")
axes.legend()
plt.show()
