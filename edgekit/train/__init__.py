"""Training: data, pretrained weights, the loop, checkpoints."""
