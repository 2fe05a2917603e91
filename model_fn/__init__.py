"""The Estimator's model: embedding, backbones, towers, losses, metrics, optimizers."""
