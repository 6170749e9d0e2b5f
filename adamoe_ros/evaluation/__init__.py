# SPDX-License-Identifier: Apache-2.0
"""What a policy is worth: success in the simulator, errors on recordings, latency, use of its experts.

``cases`` says which episodes are run and which instruction each is given, ``evaluator`` runs a block of
them in this process (``closed_loop`` steps policy, control and simulator,
``scenes`` holds the simulators, ``policy.actor`` the policy), ``judgement`` follows and judges each.
``blocks`` keeps what has been run, ``success`` counts, ``results`` writes. Called by
``cli.evaluate``; ``cli.evaluate_ros`` runs the same cases over real nodes. ``usage/`` is about experts,
``report/`` makes pages and videos, ``replay/`` compares with bags, ``bench/`` measures latency on the
computer that ``machine`` describes.
"""
