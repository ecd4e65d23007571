"""Device models: what a pulse does to one cell, aihwkit's tiles, and the fit of a cell to measured pulses.

Arrays belong to ``crossbar``, device cards to ``cards``; nothing here reads a file or a clock.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "aihw": ["check_pair", "device_of"],
        "aihw.pair": ["absent", "check_pair"],
        "cell": ["BaseCell"],
        "fitting.data": ["Array", "Traces"],
        "fitting.estimate": ["Estimate", "Fits", "fit_traces"],
        "fitting.merit": ["cautions_of", "curve", "figures_with_errors", "standardised", "symmetry_of"],
        "fitting.predictive": ["MOST_RMS", "WORST_RMS", "free_run"],
        "fitting.responses": ["RESPONSES"],
        "responses": ["CELLS"],
        "symmetry": ["SymmetryPoint", "symmetry_point"],
    },
)
