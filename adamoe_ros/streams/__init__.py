# SPDX-License-Identifier: Apache-2.0
"""Messages to numpy and back, time alignment.

Messages are duck-typed, so live topics (rclpy) and bags (rosbags) go through the same lines. ``inputs`` joins
it: ``images`` (``encodings``, ``compressed``) and ``joint_states`` decode, ``buffer`` keeps a stream and
judges its stamps (``clocks``), ``joint_stream`` joins the joints of several publishers, ``align`` finds the
newest set that fits. ``commands`` writes and reads command messages by ``command_codecs``.
"""
