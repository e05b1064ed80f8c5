"""The device side: camera loop, bench, doctor, deploy. Needs numpy, OpenCV and a TFLite interpreter only."""
