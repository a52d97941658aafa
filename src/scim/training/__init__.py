"""Training and evaluation of models: data, losses, the training loop, linear metrics, evaluation."""
