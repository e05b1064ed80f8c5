"""The whole way on real data, start to finish: CIFAR-10, MobileNetV2, int8, report, camera loop."""
