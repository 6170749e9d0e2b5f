# SPDX-License-Identifier: Apache-2.0
"""rosbag2 bags without ROS: read what can be read, write what a crash leaves readable.

``files`` finds what belongs to a bag, ``storage`` opens one file (``mcap_scan`` and ``sqlite_scan``
where it is damaged), ``types`` knows the message types, ``reader`` joins them, ``writer`` writes.
"""
