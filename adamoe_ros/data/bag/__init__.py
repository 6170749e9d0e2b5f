# SPDX-License-Identifier: Apache-2.0
"""rosbag2 bags without ROS: read what can be read, write what a crash leaves readable.

``bag_files`` finds what belongs to a bag; ``mcap_file`` (on ``mcap_records``) and ``sqlite_file`` read one
file, whole or damaged, in the order that ``bag_entry`` defines; ``types`` (on ``cdr_layout``) knows the
message types; ``reader`` joins them into a ``Bag``, which ``data`` and ``evaluation`` read; ``writer``
writes.
"""
