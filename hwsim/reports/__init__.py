"""Pages and figures of results, one file for each kind of job.

Nothing here measures or computes a result; it shows what ``experiments`` left.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ablation": ["conclusion", "table", "write_ablation_page"],
        "ablation_updates": ["updates_conclusion", "updates_table", "write_updates_page"],
        "compare": ["write_compare_page"],
        "device_run": ["terminal_table", "write_report"],
        "folder": ["current_page", "write_folder_page"],
        "plotting": ["COLOURS", "DASHES", "STYLE", "panels", "write_canvas"],
        "sweep": ["page_named", "write_study_page"],
    },
)
