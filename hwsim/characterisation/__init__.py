"""From measured pulses to a device card: traces, the fit, and the portrait of a device.

The statistics of the fit belong to ``devices.fitting``.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "device_page": ["write_page"],
        "fit": ["fit_device"],
        "portrait": ["portray", "write_device_figure"],
        "reading": ["Reading", "trains_of"],
        "skeleton": ["write_skeleton"],
        "traces": ["read_traces"],
        "traces_page": ["MOST_ROWS", "lines_of", "rows_of", "write_traces_figure"],
    },
)
