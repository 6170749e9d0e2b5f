# SPDX-License-Identifier: Apache-2.0
"""The operator's page, without ROS: what it shows, who may use it, how it is served.

``words.py`` says causes and results to people; ``robot_view.py`` keeps what is known of one robot and makes
the snapshot that the page draws; ``picture_feed.py`` turns frames into JPEG while somebody looks;
``page_leader.py`` is the page as a leader for a takeover; ``page_server.py`` serves ``page/`` and its sockets
in a thread of its own. The page decides nothing about motion: it hands what people ask for to the
``LedRobot`` that ``ros/console`` puts in.
"""
