# SPDX-License-Identifier: Apache-2.0
# source tools/env.sh: the environment in which nodes, tests and ros2 commands of this checkout run.
_root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ ! -x "$_root/.venv/bin/python" ]; then
  echo "tools/env.sh: expected $_root/.venv, found none; run 'make setup'" >&2
  return 2
fi
export VIRTUAL_ENV="$_root/.venv"
case ":$PATH:" in *":$VIRTUAL_ENV/bin:"*) ;; *) export PATH="$VIRTUAL_ENV/bin:$PATH" ;; esac
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE
export ROS_AUTOMATIC_DISCOVERY_RANGE="${ROS_AUTOMATIC_DISCOVERY_RANGE:-LOCALHOST}"
eval "$("$VIRTUAL_ENV/bin/python" "$_root/adamoe_ros/cli/ros_env.py")"
unset _ROS_WHEELS_BOOTSTRAP_COMPLETE _root
