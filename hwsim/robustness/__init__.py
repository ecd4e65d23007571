"""Robustness: threat models, attacks, corruptions and the checks that unmask false robustness.

Jobs that run them and keep their results belong to ``experiments``; nothing here reads a file or a clock.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "apgd": ["Apgd"],
        "attacker": ["Ways", "effort", "fitting", "other_ways", "over_draws", "surrogate"],
        "attacks": ["Attack", "input_gradient", "margin", "pgd"],
        "checks.strength": ["main_table", "probe_of"],
        "checks.unmask": ["unmask"],
        "classifier": ["Classifier", "EquilibriumClassifier", "TorchClassifier"],
        "corruptions.condition": ["CLEAN", "Condition", "corrupted"],
        "corruptions.corruptions": [
            *("COMMON", "CORRUPTIONS", "SEVERITIES", "check_corruptible", "corrupt", "input_noise", "salt_and_pepper"),
        ],
        "library": ["Ead", "Fab", "FmnL0", "HopSkipJump", "Square"],
        "measure": ["BATCH", "Measured"],
        "models": ["as_classifier"],
        "passes": ["Passes", "passes_of", "passes_of_checks"],
        "scores": ["mce", "mean_corruption_accuracy", "mean_corruption_interval", "ratio_intervals", "relative_mce"],
        "security": ["AttackResult"],
        "sparse": ["SparseRs"],
        "stochastic": ["KNOWLEDGE", "attacked_net"],
        "suite": [
            "Fgsm",
            "Fmn",
            "PRESETS",
            "Pgd",
            "RandomSearch",
            "Transfer",
            "attacks_named",
            "check_attacks",
            "least_classes",
            "norms_of",
        ],
        "threat": ["Threat", "parse"],
        "training": ["Adversarial"],
        "warm": ["warmed"],
    },
)
