"""The jobs themselves, one room each: what they measure, how they go on, and their results as data.

Pages and pictures of results belong to ``reports``.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "ablation.job": ["Ablation", "plan_ablation", "run_ablation"],
        "ablation.results": ["Results", "results", "verdict", "write_table"],
        "ablation.updates": ["UPDATES", "UpdateResults", "plan_updates", "update_results", "write_update_table"],
        "attack.effort": ["plan_within"],
        "attack.gallery": ["keep_gallery"],
        "attack.plan": ["plan_attack"],
        "attack.records": ["AttackResults", "CheckRecord", "ThreatResult"],
        "attack.results": ["write_results"],
        "attack.work": ["run_attack"],
        "compare": ["Comparison", "Row"],
        "corruption.job": ["plan_corrupt", "run_corrupt"],
        "corruption.pictures": ["keep_pictures", "read_pictures"],
        "corruption.records": ["CorruptionResults", "Row"],
        "corruption.results": ["CorruptionResults", "write_results"],
        "device_run.caveats": ["described"],
        "device_run.cost": ["cost_section", "rows", "shipped_weights", "with_unit"],
        "device_run.gallery": ["galleries"],
        "device_run.job": ["COPIED", "plan_run"],
        "device_run.prices": ["read_table"],
        "device_run.results": [
            "REFERENCE",
            "Record",
            "Run",
            "accuracy_of",
            "middle_level",
            "read_run",
            "summarise",
            "summary_of",
        ],
        "doctor": ["diagnose", "report"],
        "export.spice": ["Choice", "netlist", "read_source"],
        "export.tensorboard": ["teller"],
        "gallery": ["FILE", "Gallery", "Perturbed", "file_stem", "read_gallery"],
        "index": ["INDEX", "chosen", "find", "refresh", "remove", "state"],
        "kinds": ["JobFolder", "read_folder", "results_of"],
        "requests": ["AblationRequest", "AttackRequest", "CorruptRequest", "RunRequest", "TrainRequest"],
        "results": ["JobResults", "read_results"],
        "sweep.card": ["BlockConfig"],
        "sweep.forecast": ["forecast", "lacking"],
        "sweep.results": ["Line", "Results", "read_results"],
        "sweep.study": ["folder_of", "read_config", "read_study"],
        "training.epochs": ["EpochRecord"],
        "training.job": ["plan_training"],
        "training.learners": ["described"],
        "training.work": ["run_training"],
        "update_quality": ["MOST_PULSES", "as_records", "lines"],
    },
)
