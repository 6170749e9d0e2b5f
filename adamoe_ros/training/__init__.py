# SPDX-License-Identifier: Apache-2.0
"""Training and fine-tuning, from settings to a checkpoint folder.

``training_config``  settings of a run: one YAML file, ``key=value`` overrides.
``training_run``     the whole: ``prepare`` data, network and loop, ``train`` to a checkpoint.
``data_source``      demonstrations of a LeRobot dataset (``lerobot_source``), of bags, or of the simulator
                     (``demonstration_store``, which makes a dataset of them).
``demonstration_set``  episodes in memory, cut into samples; ``sampling`` says which ones a step sees.
``data_manifest``, ``data_statistics``  what the numbers mean, against a checkpoint's.
``starting_point``   fresh or a checkpoint's weights; ``finetuning`` freezes, adds LoRA.
``objective``        loss of a batch, with ``augmentation``.
``trainer``          the loop; ``optimiser`` has AdamW, schedules and EMA, ``processes`` FSDP.
``run_state``, ``training_log``  what is saved to go on from, and what is reported.
``checkpoint_export``  the averaged weights as a checkpoint folder.

``cli/train.py`` calls ``training_run``; nothing here knows of ROS or of ``evaluation``.
"""
