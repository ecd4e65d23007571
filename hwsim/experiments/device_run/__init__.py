"""The main job: a model in float, programmed and in situ on one device, measured clean and perturbed."""
