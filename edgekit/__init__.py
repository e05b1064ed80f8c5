"""edgekit: from a PyTorch image classifier to a fully-int8 TFLite model on a Raspberry Pi camera."""

import os

__version__ = "0.1.0"

# A small file can claim to be a picture that fills the memory. OpenCV reads this once, when it is loaded; its own limit
# is 2^30 pixels, this one is Pillow's. Whoever has larger photos may set more.
MOST_PIXELS = 89_478_485
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(MOST_PIXELS))
