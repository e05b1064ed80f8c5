#!/bin/sh
# install.sh VERSION WHEEL: the device side alone in .venv-litert-VERSION, as `pip install "edgekit[deploy]"` leaves it.
# Needs that Python, on the PATH or from pyenv. TESTS names what runs the tests.
set -eu
version=$1 wheel=$2 folder=.venv-litert-$1

works() { "$1" -c 'import sys, venv; sys.exit("%d.%d" % sys.version_info[:2] != "'"$version"'")' 2>/dev/null; }

for python in "python$version" "${PYENV_ROOT:-$HOME/.pyenv}/versions/$version".*/bin/python; do
  if works "$python"; then
    [ -x "$folder/bin/python" ] || "$python" -m venv "$folder"
    "$folder/bin/python" -m pip install --quiet --constraint deploy/edgekit_deploy/requirements-pi.txt "$wheel[deploy]" $TESTS
    # The version stays the same while we work on it: pip would keep the wheel of the last time.
    "$folder/bin/python" -m pip install --quiet --no-deps --force-reinstall "$wheel"
    exit 0
  fi
done
echo "Python $version must be installed, with venv, got none on the PATH and none from pyenv. Run: pyenv install $version"
exit 1
