"""Cards: YAML of devices, models, recipes and arrays, checked key by key and built into objects.

Work that takes long, and folders of results, belong to ``jobs`` and ``experiments``.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "array": ["ArraySettings"],
        "build": ["COSTS", "adversary", "as_built", "hardware", "layer_names", "learning_rule"],
        "card": ["Card"],
        "device": ["DeviceCard", "describe", "read_device", "with_exact_updates"],
        "differences": ["diff"],
        "export_cell": ["cell_of"],
        "export_python": ["python_of"],
        "layers": ["Layer"],
        "listing": ["list_devices", "list_models"],
        "model": ["AttackConfig", "EvaluationConfig", "InferenceConfig", "ModelConfig", "require_energy"],
        "network": ["EnergyConfig", "ModuleConfig"],
        "nonidealities": ["AGEING_ONLY", "Property", "READS", "TRAINING_ONLY", "properties", "switched_off"],
        "plugins": ["Code", "place_of", "plugin", "read_code"],
        "read": [
            *("DEFAULT_DEVICE", "DEFAULT_MODEL", "check_fit", "check_no_run"),
            *("in_situ_recipe", "parted", "read_model"),
        ],
        "recipe": ["AugmentConfig", "BackpropConfig", "LearningConfig", "LearningSection"],
        "shelf": ["CARDS", "find", "items", "resolve", "shown_path", "summary_of"],
        "size": ["check_batch"],
        "updates": ["parse_mode"],
        "yamlfile": [
            "Document",
            "Keys",
            "did_you_mean",
            "key_path",
            "parse_setting",
            "parse_yaml",
            "read_yaml",
            "shown",
            "to_yaml",
        ],
    },
)
