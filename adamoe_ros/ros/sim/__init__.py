# SPDX-License-Identifier: Apache-2.0
"""What stands where a robot would, and what drives it in a demo or an evaluation.

``sim_node`` (``sim_world`` the physics, ``sim_loop`` its clock and threads, ``sim_messages`` its topics)
and ``loopback_node`` (``loopback_cameras``) play a robot's drivers, ``bag_player`` a recording.
``session`` starts simulator, policy and control as processes (``node_processes``) and runs episodes on
them through a ``director``, who acts as an operator would and records with ``session_recorder``;
``cli.demo_run`` and ``cli.evaluate_ros`` call it.
"""
