"""edgekit: from a PyTorch image classifier to a fully-int8 TFLite model on a Raspberry Pi camera."""

__version__ = "0.1.0"
