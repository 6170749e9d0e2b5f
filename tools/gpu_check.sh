#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# tools/gpu_check.sh FOLDER [--rehearse]: everything to be known of a GPU in nine minutes, see
# benchmarks/gpu_check.py. Needs no ROS, no set-up and no network: a Python with torch, and for what it
# lacks the wheels that tools/gpu_wheels.sh fetched beforehand. PYTHON names another Python.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-python3}
export PYTHONUNBUFFERED=1 PYTHONPATH="$root${PYTHONPATH:+:$PYTHONPATH}"
"$python" -c "import torch" 2>/dev/null || {
  echo "gpu_check: expected a Python with torch, $python has none; name another in PYTHON" >&2
  exit 2
}
if ! "$python" -c "import pydantic" 2>/dev/null; then
  ls "$root"/.gpu_wheels/*.whl >/dev/null 2>&1 || {
    echo "gpu_check: expected pydantic or wheels in .gpu_wheels, found neither; run tools/gpu_wheels.sh where there is a network" >&2
    exit 2
  }
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  "$python" -m pip install -q --no-index --no-deps --no-compile --no-cache-dir \
    --disable-pip-version-check --target "$site" "$root"/.gpu_wheels/*.whl
  export PYTHONPATH="$site:$PYTHONPATH"
fi
"$python" "$root/benchmarks/gpu_check.py" "$@"
