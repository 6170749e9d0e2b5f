# SPDX-License-Identifier: Apache-2.0
"""LeRobot's dataset format, versions 3.0 and 2.1, without the lerobot package.

``layout`` has names and columns, ``video`` and ``episode_writer`` write one staged episode,
``assemble`` makes a dataset of staged episodes, ``reader`` reads a dataset of either version.
"""
