"""Energy-based models: energies, costs, links between layers, and the solvers that settle a state.

Nothing here knows how a network is trained or what its arrays are made of.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "build": ["Conv", "Layer", "layered_hopfield", "predictive"],
        "circuit": ["SOURCES"],
        "convolution": ["Convolution"],
        "costs": ["CrossEntropy", "SquaredError"],
        "dense": ["planned"],
        "diode": ["Diode"],
        "energy": ["Clamped", "Cost", "Coupling", "Energy", "Nudged", "State", "Wrapped", "Writable", "examples"],
        "hopfield": ["GivenInput", "LayeredHopfield"],
        "inference": ["infer"],
        "linearised": ["Blocks", "Linearised"],
        "look": ["costs_nothing", "due", "fetched", "seen"],
        "netlist": ["to_spice"],
        "normalise": ["Normalise"],
        "network": ["Given", "Network"],
        "predictive": ["ErrorSweeps", "PredictiveCoding"],
        "resistive": ["ResistiveNetwork"],
        "settle": ["OddEven", "Outcome", "PHASE", "Phase", "SOLVER", "SOLVERS", "Settled", "Solver", "Synchronous"],
        "solvers": ["FRESH", "OddEven", "Solver", "Synchronous"],
        "spectrum": ["measured_factor", "over_relaxation"],
    },
)
