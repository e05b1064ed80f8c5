"""Faults planted in a running `edgekit camera`, for benchmarks/camera_faults.py."""
