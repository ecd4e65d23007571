"""Statistics of results: intervals, thresholds and paired tests.

Nothing here knows what was measured.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "frames": ["data_frame"],
        "interval": ["Interval", "accuracy", "difference", "percent", "signed_points"],
        "paired": ["mcnemar", "unpaired"],
        "threshold": ["Threshold"],
    },
)
