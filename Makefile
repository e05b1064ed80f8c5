# Everything a new machine needs: Python 3.11, make, and network access for the first `make`.
PYTHON ?= $(shell command -v python3.11 || command -v python3)
BIN := .venv/bin
DEVICE_TESTS := pytest==9.2.0 pytest-randomly==5.1.0 pytest-timeout==2.4.0
PYTHONS := 3.12 3.13

# Debian packages, installed if they are not there; by one at a time. dpkg also knows the names of packages that others
# merely suggest: only the state tells.
define debian
	@[ "$$(dpkg-query --show --showformat '$${db:Status-Status}\n' $(1) 2>/dev/null | grep -cx installed)" -ge $(words $(1)) ] \
	  || { [ "$$(id -u)" = 0 ] && flock Makefile sh -c \
	       'apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $(1) >/dev/null'; } \
	  || { echo "Run: sudo apt-get install $(1)"; exit 1; }
endef

.PHONY: help setup demo test test-pythons test-browser test-debian test-deploy test-pi test-pi-v4l2 test-data check bench \
  bench-quantization bench-camera bench-faults bench-deploy bench-pi clean

help: ## Show what can be made
	@grep -E '^[a-z0-9-]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 20

setup: .venv/.done .venv-litert/.done .venv-tflite-runtime/.done ## Install everything into .venv and the two device environments

demo: .venv/.done ## Train, convert, report and classify a clip on CIFAR-10 (DEMO=--quick: two to five minutes)
	$(BIN)/edgekit demo $(DEMO)

test: setup ## Run the tests
	$(BIN)/python -m pytest

test-pythons: .venv/.done ## Run the device tests on Python 3.12 and 3.13 with nothing but the wheel's edgekit[deploy]
	rm -rf dist
	$(BIN)/python -m build --wheel --outdir dist . >/dev/null
	@for version in $(PYTHONS); do TESTS="$(DEVICE_TESTS)" sh tests/device/install.sh $$version dist/*.whl || exit 1; done
	$(BIN)/python -m pytest -m pythons

test-browser: .venv/.done ## Run the tests that need Chromium, and install it (Debian, Ubuntu)
	$(call debian,chromium)
	$(BIN)/python -m pytest -m browser

DEBIAN := mosquitto mosquitto-clients openssl gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base \
  gstreamer1.0-plugins-good gstreamer1.0-plugins-bad gstreamer1.0-plugins-ugly python3-gi python3-opencv python3-click \
  python3-rich systemd libegl1 libgles2

test-debian: .venv/.done .venv-mediapipe/.done ## Run the tests against mosquitto, GStreamer's RTSP server and MediaPipe, and install them (Debian)
	$(call debian,$(DEBIAN))
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m pytest -m debian

test-deploy: .venv/.done ## Kill pushes at random points and over a real OpenSSH server, and install it (Debian)
	$(call debian,openssh-server openssh-client)
	PATH="$$PATH:/usr/sbin" $(BIN)/python -m pytest -m deploy

PI := mmdebstrap qemu-user-static qemu-user debian-archive-keyring gcc libc6-dev
PI_V4L2 := mmdebstrap qemu-user-static qemu-system-arm debian-archive-keyring cpio kmod

test-pi: .venv/.done ## Run the device tests on emulated Raspberry Pi cores, and install what that needs (Debian; root)
	$(call debian,$(PI))
	$(BIN)/python -m pytest -m pi
	PYTHONPATH=tests $(BIN)/python -m benchmarks.pi_instructions --check

test-pi-v4l2: .venv/.done ## Boot an emulated Raspberry Pi with a V4L2 camera, and install what that needs (Debian; root)
	$(call debian,$(PI_V4L2))
	$(BIN)/python -m pytest -m pi_v4l2

test-data: .venv/.done ## Fetch CIFAR-10 and ImageNet weights, and run the tests that need them
	$(BIN)/python -c "from edgekit.train import cifar10, imagenet_v1 as v1, weights as v2; cifar10.load(); v1.folded_layers(); v2.imagenet_state()"
	$(BIN)/python -m pytest -m data

check: .venv/.done ## Lint, types, import rules
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy edgekit quantize/edgekit_quantize deploy/edgekit_deploy
	$(BIN)/lint-imports

bench: .venv/.done ## Edgekit beside others: benchmarks/RESULTS.md (CALIBRATION=folder EVALUATION=folder; hours; Debian; root, or ARGS=--not-emulated)
	$(call debian,$(if $(filter --not-emulated,$(ARGS)),,$(PI)) libegl1 libgles2)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.side_by_side.everything \
	  $(if $(CALIBRATION),--calibration "$(CALIBRATION)") $(if $(EVALUATION),--evaluation "$(EVALUATION)") $(ARGS)

bench-quantization: .venv/.done ## Measure recipes and conversion (CALIBRATION=folder EVALUATION=folder SOURCE=model.pt ARGS=--ablation)
	@[ -d "$(CALIBRATION)" ] && [ -d "$(EVALUATION)" ] \
	  || { echo "Give two folders: make bench-quantization CALIBRATION=photos EVALUATION=labelled"; exit 1; }
	$(BIN)/python benchmarks/conversion_speed.py --calibration "$(CALIBRATION)" $(if $(SOURCE),--source "$(SOURCE)")
	$(BIN)/python benchmarks/quantization.py --calibration "$(CALIBRATION)" --evaluation "$(EVALUATION)" $(if $(SOURCE),--source "$(SOURCE)") $(ARGS)

bench-camera: .venv/.done ## Measure the camera loop around the network (MODEL=mobilenet_v2_224_int8.tflite)
	@[ -f "$(MODEL)" ] || { echo "Give a model: make bench-camera MODEL=imagenet.tflite"; exit 1; }
	$(BIN)/python benchmarks/camera_overhead.py --model "$(MODEL)"

bench-faults: .venv/.done ## Plant faults in a running camera and write what it does (best as root, after make test-debian)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.camera_faults

bench-deploy: .venv/.done ## Plant faults in pushes and write what they do (root, after make test-deploy)
	PATH="$$PATH:/usr/sbin" PYTHONPATH=tests $(BIN)/python -m benchmarks.deploy_faults

bench-pi: .venv/.done ## Count instructions of a frame on emulated Raspberry Pi cores (root, after make test-pi)
	PYTHONPATH=tests $(BIN)/python -m benchmarks.pi_instructions

# MediaPipe brings an OpenCV of its own, which must not come beside ours, and wants libEGL. For a test: it reads our files.
.venv-mediapipe/.done: tests/support/mediapipe.txt .venv/.done
	@echo "Setting up .venv-mediapipe, to see that MediaPipe Tasks reads what edgekit writes."
	@$(PYTHON) -m venv .venv-mediapipe
	.venv-mediapipe/bin/python -m pip install --quiet --requirement tests/support/mediapipe.txt
	@touch $@

clean: ## Remove the environments and caches; runs/ stays
	rm -rf .venv .venv-litert .venv-litert-* .venv-tflite-runtime .venv-mediapipe .peers dist .mypy_cache .ruff_cache .pytest_cache

.venv/.done: pyproject.toml constraints.txt
	@echo "Setting up .venv with $(PYTHON): about 4 GB, some minutes the first time."
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info[:2] != (3, 11))' \
	  || { echo "edgekit's host side needs Python 3.11. Try: make PYTHON=/path/to/python3.11"; exit 1; }
	@$(PYTHON) -m venv .venv || { echo "On Debian and Ubuntu: sudo apt-get install python3-venv"; exit 1; }
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	@sh deploy/opencv-libraries.sh $(BIN)/python
	@touch $@

# The device side alone, once with each runtime: proves that it runs without torch and tensorflow.
.venv-litert/.done: pyproject.toml deploy/edgekit_deploy/requirements-pi.txt .venv/.done
	@echo "Setting up .venv-litert, the device side with LiteRT."
	@$(PYTHON) -m venv .venv-litert
	.venv-litert/bin/python -m pip install --quiet --requirement deploy/edgekit_deploy/requirements-pi.txt $(DEVICE_TESTS)
	.venv-litert/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@

.venv-tflite-runtime/.done: pyproject.toml deploy/edgekit_deploy/requirements-tflite-runtime.txt .venv/.done
	@echo "Setting up .venv-tflite-runtime, the device side with tflite-runtime."
	@$(PYTHON) -m venv .venv-tflite-runtime
	.venv-tflite-runtime/bin/python -m pip install --quiet --requirement deploy/edgekit_deploy/requirements-tflite-runtime.txt $(DEVICE_TESTS)
	.venv-tflite-runtime/bin/python -m pip install --quiet --no-deps --editable .
	@touch $@
