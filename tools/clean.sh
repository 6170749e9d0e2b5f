#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Removes everything that set-up, build, tests and runs have made here, and shared-memory files of Fast
# DDS that belong to this user and that no process has open.
set -u
cd "$(dirname "$0")/.." || exit 1
rm -rf .venv .venv-browser .venv-ray .venv-matrix .venv-lerobot .venv-clients .venv-linters .venv-gpu .venv-wheel .robot-check dist .gpu_wheels build install log out .pytest_cache .mypy_cache .ruff_cache .hypothesis
rm -rf ./*.egg-info
find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

used=$(cat /proc/[0-9]*/maps 2>/dev/null | grep -o '/dev/shm/[^ ]*' | sort -u)
open=$(find /proc/[0-9]*/fd -lname '/dev/shm/*' -printf '%l\n' 2>/dev/null | sort -u)
for path in /dev/shm/fastdds_* /dev/shm/fastrtps_* /dev/shm/sem.fastdds_* /dev/shm/sem.fastrtps_*; do
  [ -e "$path" ] && [ -O "$path" ] || continue
  # ports and segments go by base name: a lock file "_el" beside a used file is in use as well
  base=${path##*/}; base=${base#sem.}; base=${base%_el}; base=${base%_sl}; base=${base%_mutex}
  grep -q -- "$base" <<<"$used$open" || rm -f "$path"
done
exit 0
