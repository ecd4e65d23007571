"""Arrays of cross-points: what a read, an update and a programming do to one array, its wires, faults and converters.

No network, no energy and no card belongs here, and no device model but the exact one; nothing here reads a file or a
clock.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "reduced": ["PRECISIONS", "ReducedSynapse", "reduced"],
        "array": ["Array", "ArrayDevice"],
        "averaged": ["AveragedDevice"],
        "cell_array": ["CellDevice", "bounded"],
        "circuit": ["Circuit"],
        "composite": ["arrays_of", "layout"],
        "conductance": ["Conductances", "Programming"],
        "exact": ["FloatDevice", "FloatSynapse", "is_exact"],
        "faults": ["Faults"],
        "columns": ["ColumnwiseDevice"],
        "levels": ["Levels"],
        "non_negative": ["Centred", "Range", "non_negative"],
        "netlist": ["OPTIONS", "ladder", "number", "read_netlist"],
        "reads.kernels": ["PatchKernels", "kernels"],
        "reads.periphery": ["BOUND_MANAGEMENT", "NOISE_MANAGEMENT", "ReadPath", "WEIGHT_NOISE"],
        "reads.readable": ["ArrayReads"],
        "reads.vectors": ["Port", "read"],
        "reads.window": ["Window", "as_rows"],
        "residual": ["ResidualDevice"],
        "synapse": [
            "Ages",
            "Bounded",
            "Compensated",
            "Device",
            "KnownAges",
            "Meter",
            "Synapse",
            "check_keys",
            "check_rate",
            "check_weight",
        ],
        "tiling": ["TiledDevice", "tile_sizes"],
        "twin": ["TwinDevice", "second_half"],
        "updates.gain": ["GainDevice"],
        "updates.log": ["PULSES", "logged"],
        "updates.modes": ["ACCUMULATE", "LOW_RANK", "MOMENTUM", "PER_SAMPLE", "POOLED", "UpdateMode"],
        "updates.normalised": ["NormalisedDevice", "NormalisedUpdates"],
        "updates.pull": ["held_weight", "pull_per_pulse"],
        "updates.pulsed": ["count_rows", "layers_of", "mean_granularity", "write_period"],
        "work": ["Work", "cost_of"],
        "wrapped": ["WrappedDevice", "innermost_device"],
    },
)
