# SPDX-License-Identifier: Apache-2.0
"""The ``adamoe`` command: parse, call, exit code.

``entry`` completes the environment (``ros_env``), ``main.COMMANDS`` lists the commands, each a module
with ``add_arguments`` and ``run`` that is imported when it is asked for. ``demo`` and ``evaluate`` have a
second file for their runs over ROS (``demo_run`` with ``demo_view``, ``evaluate_ros``).
"""
