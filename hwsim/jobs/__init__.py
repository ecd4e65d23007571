"""What every job has: its folder, its files, its receipt, its checkpoints, and processes that run it side by side.

No physics, and nothing of what a particular job measures, belongs here.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "checkpoint": ["load_state", "save_state"],
        "durations": ["UNITS_S", "parse_duration", "told_duration"],
        "engine": ["Log", "working"],
        "executors": ["Cluster", "Here", "Pool", "Processes"],
        "folder": ["busy", "held", "read_json"],
        "job": ["Job", "Progress", "Quiet", "RUNS"],
        "place": ["CPU", "check_place", "products_in"],
        "records": ["Record", "check_hits", "damage", "plain", "read_file", "read_log", "read_records", "write_file"],
        "request": [
            "ACCELERATOR",
            "REQUIRED",
            "AcceleratedRequest",
            "Request",
            "TrainingRequest",
            "check_number",
            "option",
        ],
        "store": ["kept_aside", "read_lines", "remove_leftovers", "write_json", "write_text", "written_aside"],
        "tasks": ["Task", "do_tasks"],
        "weights": [
            "CONDUCTANCES",
            "WEIGHTS",
            "load_weights",
            "named_conductances",
            "named_weights",
            "save_conductances",
            "save_weights",
        ],
    },
)
