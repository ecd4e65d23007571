"""From measured pulses to a device card: traces, the fit, and the portrait of a device.

The statistics of the fit belong to ``devices.fitting``.
"""
