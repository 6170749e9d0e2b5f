# SPDX-License-Identifier: Apache-2.0
"""Messages to numpy and back, time alignment.

Messages are duck-typed, so live topics (rclpy) and bags (rosbags) go through the same lines.
"""
