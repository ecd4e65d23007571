"""Arrays of cross-points: what a read, an update and a programming do to one array, its wires, faults and converters.

No network, no energy and no card belongs here, and no device model but the exact one; nothing here reads a file or a
clock.
"""
