# SPDX-License-Identifier: Apache-2.0
"""``adamoe doctor``: is this checkpoint, this profile, this machine and this robot fit to run?

``report`` what a check says · ``system`` this machine · ``files`` profile and checkpoint ·
``stream_checks`` figures of one live topic, without ROS ·
``node_checks`` one of each node · ``live`` the running system (rclpy) ·
``views`` images as the model sees them.
"""
