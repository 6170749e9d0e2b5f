#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# What can be known of a GPU machine without one, with its versions (requirements/gpu-machine.txt, 5 GB
# in .venv-gpu): rehearsal, engine tests, traces of the graphs, kernels compiled ahead. PYTHON: a 3.12.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
unset PYTHONPATH VIRTUAL_ENV
export OMP_NUM_THREADS=1 PYTHONNOUSERSITE=1
stamp=.venv-gpu/$(sha256sum <requirements/gpu-machine.txt | cut -c1-16).stamp
if [ ! -e "$stamp" ]; then
  python=${PYTHON:-python3.12}
  "$python" -c 'import sys; sys.exit(sys.version_info[:2] != (3, 12))' || {
    echo "gpu_rehearsal: expected Python 3.12, got $python; pass PYTHON=/path/to/python3.12" >&2
    exit 2
  }
  rm -rf .venv-gpu
  "$python" -m venv .venv-gpu
  .venv-gpu/bin/python -m pip install -q --no-compile --disable-pip-version-check -r requirements/gpu-machine.txt
  # that machine has no pydantic: the wheels are tried as they will be used there
  .venv-gpu/bin/python -m pip uninstall -q -y pydantic pydantic-core annotated-types typing-inspection
  tools/gpu_wheels.sh
  touch "$stamp"
fi
export PYTHON="$root/.venv-gpu/bin/python"
tools/gpu_check.sh "${1:-out/gpu_rehearsal}" --rehearse --seconds 1500
site=$(mktemp -d)
trap 'rm -rf "$site"' EXIT
"$PYTHON" -m pip install -q --disable-pip-version-check --no-index --no-deps --target "$site" .gpu_wheels/*.whl
export PYTHONPATH="$site:$root"
"$PYTHON" -m pytest -q -p no:cacheprovider test/core/policy/test_engine_{captured,graphs,parts,triton}.py
"$PYTHON" benchmarks/trace_graphs.py
"$PYTHON" benchmarks/compile_kernels.py --chips H200 --out benchmarks/results/kernels_triton36.json
