#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Fetches what a bare GPU machine lacks (requirements/gpu.txt) as wheels into .gpu_wheels, which git
# ignores; tools/gpu_check.sh installs them there without a network. The machine: x86-64, Python 3.12.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
cd "$root"
most=$((60 * 1024 * 1024))  # bytes of tree and wheels together
python=${PYTHON:-python3}
target=(--only-binary=:all: --python-version 3.12 --implementation cp)
for glibc in 2_28 2_27 2_17 2014 1; do
  case $glibc in *_*) tag="manylinux_$glibc" ;; *) tag="manylinux$glibc" ;; esac
  target+=(--platform "${tag}_x86_64")
done
rm -rf .gpu_wheels
# without PIP_CONSTRAINT and the like: pins.txt alone says the versions
"$python" -m pip --isolated download -q --disable-pip-version-check --no-deps "${target[@]}" \
  -c requirements/pins.txt -r requirements/gpu.txt -d .gpu_wheels
# whether they are complete: pip resolves them from this folder alone
"$python" -m pip --isolated install -q --disable-pip-version-check --dry-run --no-index --ignore-installed \
  --find-links .gpu_wheels "${target[@]}" --target .gpu_wheels/none -r requirements/gpu.txt
tree=$( { git ls-files -z; git ls-files -z --others --exclude-standard; } | xargs -0 stat -c %s | awk '{ n += $1 } END { print n }')
wheels=$(stat -c %s .gpu_wheels/*.whl | awk '{ n += $1 } END { print n }')
total=$((tree + wheels))
echo "tree $tree + wheels $wheels = $total bytes of $most:"
ls .gpu_wheels
[ "$total" -le "$most" ] || { echo "gpu_wheels: expected at most $most bytes, got $total; remove files" >&2; exit 2; }
