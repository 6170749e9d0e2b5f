#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# Prints a Python that can run adamoe_ros (3.10 ... 3.13, with venv). PYTHON=... names one.
# Never that of our own .venv, which 'source tools/env.sh' puts first: set-up would remove it and stand without.
set -u
own=$(cd "$(dirname "$0")/.." && pwd)

fits() {
  local code='import sys, venv, ensurepip; print("fits" if (3, 10) <= sys.version_info[:2] <= (3, 13) else "no")'
  [ "$("$1" -c "$code" 2>/dev/null)" = fits ]
}
version() {
  local text
  text=$("$1" -c 'import platform; print(platform.python_version())' 2>/dev/null)
  echo "${text:-none that runs}"
}

# the interpreter that our .venv was made with, for one of .venv's; else the same
outside() {
  case "$1" in
    "$own/.venv/"*) "$1" -c 'import sys; print(sys._base_executable)' ;;
    *) echo "$1" ;;
  esac
}

if [ -n "${PYTHON:-}" ]; then
  path=$(command -v "$PYTHON") && fits "$path" && { outside "$path"; exit 0; }
  echo "setup: PYTHON=$PYTHON: expected Python 3.10 to 3.13 with venv, got $(version "$PYTHON"); pass another, e.g. make setup PYTHON=/usr/bin/python3.12" >&2
  exit 2
fi

# With a ROS sourced only its own interpreter can load rclpy.
names="python3 python3.12 python3.11 python3.13 python3.10"
foreign=$(tr ':' '\n' <<<"${AMENT_PREFIX_PATH:-}" | grep -v -e "^$own/" -e '^$')
[ -n "$foreign" ] && [ -n "${ROS_DISTRO:-}" ] && names="/usr/bin/python3 python3"
for name in $names; do
  for path in $(type -ap "$name"); do
    case "$path" in "$own/.venv/"*) continue ;; esac
    fits "$path" && { echo "$path"; exit 0; }
  done
done
echo "setup: expected Python 3.10 to 3.13 with venv, got $(version python3); install one (Debian, Ubuntu: apt-get install python3 python3-venv) or pass PYTHON=/path/to/python3" >&2
exit 2
