# SPDX-License-Identifier: Apache-2.0
"""The demo's report: recording -> figures -> one self-contained HTML page.

``data.recording`` holds what was seen on the topics, ``summary`` the numbers, ``svg`` and ``html`` the
drawing, ``sections_*`` one part of the page each, ``page`` puts them together. No ROS, no torch.
"""
