# SPDX-License-Identifier: Apache-2.0
"""policy_node: observations and an instruction in, action chunks out.

``policy_node`` makes the topics and ``policy_setup`` the policy actor; ``policy_inputs`` takes pictures and joint
states (``hearing``: is what is published also heard?). ``policy_goal`` is the action server, ``goal_executor``
the life of one goal, ``control_watch`` whether control follows it, ``policy_worker`` the inference thread.
``policy_messages`` makes chunks, ``policy_diagnostics``, ``input_diagnostics``, ``policy_stats`` and ``gpu`` say
how it goes; ``policy_parameters`` declares the parameters.
"""
