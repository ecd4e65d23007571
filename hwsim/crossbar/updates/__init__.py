"""How an update is written: what stands between the rows of a learning rule and the pulses of an array.

Every way is a device around another one. What a pulse does to a device belongs to ``hwsim.devices``, which rows there
are to the learning rule.
"""
