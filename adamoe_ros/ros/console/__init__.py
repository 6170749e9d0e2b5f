# SPDX-License-Identifier: Apache-2.0
"""console_node: the operator's page beside the robot, a thin node around ``adamoe_ros.console``.

``console_node.py`` is the process; per robot, ``robot_link.py`` listens and carries out what people ask
for, ``stop_line.py`` stops, with a node and a thread for nothing else, ``camera_link.py`` takes pictures
while somebody looks, ``leader_line.py`` publishes what somebody leads by hand from the page.
"""
