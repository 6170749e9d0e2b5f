# SPDX-License-Identifier: Apache-2.0
"""LeRobot's dataset format, versions 3.0 and 2.1, without the lerobot package.

Written: ``dataset_schema`` has names and columns, ``video_writer`` and ``episode_writer`` write one
staged episode, ``dataset_writer`` makes a dataset of them. Read, of anyone: ``dataset_metadata`` reads
meta/ in the shapes that other tools leave, ``dataset_rows`` finds an episode's rows, ``video_frames``
finds the frames of its rows by time, ``dataset_reader`` puts them together.
"""
