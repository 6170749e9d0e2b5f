# SPDX-License-Identifier: Apache-2.0
"""Messages to numpy and back, time alignment. Imports: numpy, contract; cv2 where needed.

Messages are duck-typed, so live topics (rclpy) and bags (rosbags) go through the same lines.
"""
