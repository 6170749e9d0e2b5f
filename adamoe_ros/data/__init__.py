# SPDX-License-Identifier: Apache-2.0
"""Bags and datasets: read anyone's, write ours.

``bag/`` reads and writes rosbag2 files, ``bag_topics`` finds a robot's topics in one, ``observations`` turns them
into what the policy sees, by the lines of the live nodes (``joint_timeline``, ``stream_account``).
``bag_conversion`` makes LeRobot episodes of it (``bag_conversion_many``: of folders), ``to_bag`` goes back,
``units`` converts joints. ``lerobot/`` is the dataset format; ``validate`` with ``dataset_checks`` and
``motion_checks`` judges datasets, ``running_statistics`` sums them up. ``episode_recorder`` writes what
recorder_node hears, ``recording`` and ``sim_trace`` what a demo leaves; ``svg`` draws charts.
"""
