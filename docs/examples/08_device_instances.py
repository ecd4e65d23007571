"""
What a verdict means on a chip
==============================

The same weights on several instances of a device: programming differs from instance to instance and is fixed, read
noise differs from read to read, and conductances drift.
"""

import matplotlib.pyplot as plt

import hwsim as hw

data = hw.load_data("digits")
trained = hw.hopfield([64, 64, 10], seed=0)
hw.train(trained, hw.EquilibriumProp(beta=0.5, solver=hw.OddEven()), data.train, rates=[0.5, 0.2], epochs=6, seed=0)
device = hw.device("pcm-inference")

times = {"1 s": 1.0, "1 h": 3600.0, "1 day": 86400.0, "1 month": 30 * 86400.0}
figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
for instance in range(4):
    chip = hw.hopfield([64, 64, 10], device, seed=instance)
    chip.program(trained.weights())
    shares = []
    for seconds in times.values():
        chip.age(seconds)
        shares.append(100 * hw.accuracy(chip, data.test, draws=2).mean)
    axes.plot(list(times), shares, "o-", label=f"instance {instance}")
axes.axhline(100 * hw.accuracy(trained, data.test).mean, color="black", linewidth=0.8, label="float")
axes.set(xlabel="time after programming", ylabel="accuracy (%)", title="One set of weights, four instances")
axes.legend(fontsize=8)
plt.show()
