"""Data sets: where images come from, how their files are read, and how they are split.

What is done with the images belongs elsewhere.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "dataset": ["Dataset", "augment", "load_corrupted"],
        "split": ["Split", "as_images", "as_split"],
    },
)
