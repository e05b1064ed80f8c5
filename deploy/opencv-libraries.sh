#!/bin/sh
# OpenCV's wheel needs two system libraries that a bare Debian or Ubuntu lacks. Usage: opencv-libraries.sh PYTHON
"$1" -c 'import cv2' 2>/dev/null && exit 0
packages="libgl1 libglib2.0-0"
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "OpenCV needs $packages: installing them."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $packages >/dev/null
    "$1" -c 'import cv2' && exit 0
fi
echo "OpenCV cannot be loaded; it needs two system libraries. Run: sudo apt-get install $packages" >&2
exit 1
