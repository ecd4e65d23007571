"""Write traces.csv: synthetic pulse trains, to show what a fit of measured ones gives.

    python devices/fitted-example/make_traces.py > traces.csv

The response is the one that NeuroSim uses for the conductance after P pulses of a train (Chen, Peng & Yu, TCAD 2018):

    G(P) = B (1 - exp(-P / A)) + G_min,     B = (G_max - G_min) / (1 - exp(-P_max / A))

taken as a step from wherever the conductance is. No such device was measured; the values are of the order of an
oxide memristor's. It is not one of the responses that are fitted, but soft bounds beyond G_max come to the same.
"""

from __future__ import annotations

import numpy as np

SEED = 7
DEVICES, CYCLES, PULSES = 5, 2, 200
G_MIN_US, G_MAX_US = 2.0, 20.0
A_UP, A_DOWN = 120.0, 90.0  # pulses; the smaller, the more the steps depend on the state
DEVICE_SPREAD = 0.08  # of A, relative, from device to device
RANGE_SPREAD = 0.05  # of G_max, relative, from device to device
PULSE_SPREAD = 0.4  # of a step, relative, from pulse to pulse
READ_NOISE_US = 0.08


def main() -> None:
    rng = np.random.default_rng(SEED)
    print("# Synthetic, not measured: made by make_traces.py beside this file")
    print("device,cycle,pulse,polarity,g_uS")
    for device in range(DEVICES):
        a_up, a_down = np.array([A_UP, A_DOWN]) * (1 + DEVICE_SPREAD * rng.standard_normal(2))
        g_max = G_MAX_US * (1 + RANGE_SPREAD * rng.standard_normal())
        b_up, b_down = ((g_max - G_MIN_US) / (1 - np.exp(-PULSES / a)) for a in (a_up, a_down))
        g = G_MIN_US
        for cycle in range(CYCLES):
            for pulse in range(2 * PULSES + 1):
                up = pulse <= PULSES
                if pulse:
                    step = (b_up + G_MIN_US - g) / a_up if up else (g_max - b_down - g) / a_down
                    g += step * (1 + PULSE_SPREAD * rng.standard_normal())
                    g = min(max(g, G_MIN_US), g_max)
                polarity = 0 if not pulse else "up" if up else "down"
                print(f"{device},{cycle},{pulse},{polarity},{g + READ_NOISE_US * rng.standard_normal():.3f}")


if __name__ == "__main__":
    main()
