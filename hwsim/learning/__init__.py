"""Learning rules and gradients of an equilibrium: equilibrium propagation, the exact gradient, and ways between them.

Attacks belong to ``robustness``, recipes to ``cards``; nothing here reads a file or a clock.
"""

import lazy_loader

# What other rooms may use; loaded when it is used.
__getattr__, __dir__, __all__ = lazy_loader.attach(
    __name__,
    submod_attrs={
        "coupled": ["CoupledLearning"],
        "ep": ["Contrastive", "EquilibriumProp"],
        "equilibrium_gradients": ["Equilibrium", "Implicit", "Unrolled", "equilibrium_logits"],
        "exact": ["ExactGradient"],
        "graph": ["Graphed", "Recorded"],
        "gradient_ways": ["NudgedInput", "Truncated", "way_named"],
        "response_gradient": ["Known", "LinearResponse"],
        "rule": ["LearningRule", "StepStats"],
        "train": ["Augment", "Epoch", "Learner", "NetworkLearner", "Stateful", "train_epochs"],
        "update_quality": ["UpdateQuality"],
    },
)
