#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# The layers without torch and ROS (contract, control, streams) on every other supported Python that this
# machine has: on PATH or under ~/.pyenv. One small environment each in .venv-matrix.
set -eu
cd "$(dirname "$0")/.."
own=$(.venv/bin/python -c 'import sys; print("%d.%d" % sys.version_info[:2])')
failed=() tested=()
for version in 3.10 3.11 3.12 3.13; do
  [ "$version" = "$own" ] && continue
  python=$(ls -d "$HOME"/.pyenv/versions/"$version".*/bin/python 2>/dev/null | tail -n 1 || true)
  [ -n "$python" ] || python=$(command -v "python$version" || true)
  [ -n "$python" ] && "$python" -c 'import venv' 2>/dev/null || continue
  venv=.venv-matrix/$version
  if [ ! -f "$venv/ready" ] || [ requirements/pins.txt -nt "$venv/ready" ]; then
    echo "[$version] making $venv"
    rm -rf "$venv"
    "$python" -m venv "$venv"
    "$venv/bin/python" -m pip install -q --disable-pip-version-check -c requirements/pins.txt \
      -r requirements/core.txt -r requirements/dev.txt opencv-python-headless 2>"$venv/pip.log" ||
      { cat "$venv/pip.log"; exit 1; }
    touch "$venv/ready"
  fi
  echo "[$version] contract, control, streams"
  tested+=("$version")
  env -u PYTHONPATH -u LD_LIBRARY_PATH ADAMOE_WITHOUT_ROS=1 OMP_NUM_THREADS=1 PYTHONPATH=. \
    "$venv/bin/python" -m pytest -q -p no:cacheprovider \
    test/core/test_layering.py test/core/contract test/core/control test/core/streams || failed+=("$version")
done
[ ${#tested[@]} -gt 0 ] || { echo "test-matrix: expected another Python from 3.10 to 3.13, found none" >&2; exit 2; }
[ ${#failed[@]} -eq 0 ] || { echo "test-matrix: failed on ${failed[*]}" >&2; exit 1; }
echo "test-matrix: passed on ${tested[*]}"
