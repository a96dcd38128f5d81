"""Training of any stage: the recipe, the order of samples, the Trainer, optimizers, DeepSpeed and checkpoints."""
