#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Runs a command as on a machine without ROS: no overlay, no sourced ROS, and the ROS wheels' packages
# cannot be imported (test/core/conftest.py refuses them). MuJoCo's GL is kept.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
for name in $(compgen -e | grep -E '^(ROS|RMW|AMENT|COLCON|CMAKE_PREFIX_PATH|FASTDDS|FASTRTPS|PYTHONPATH$)' || true); do
  unset "$name"
done
export ADAMOE_WITHOUT_ROS=1 VIRTUAL_ENV="$root/.venv" PATH="$root/.venv/bin:$PATH" PYTHONNOUSERSITE=1
export OMP_NUM_THREADS="${OMP_NUM_THREADS:-1}"
eval "$("$root/.venv/bin/python" "$root/adamoe_ros/cli/ros_env.py" --gl-only)"
cd "$root"
exec "$@"
