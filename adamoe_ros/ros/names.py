# SPDX-License-Identifier: Apache-2.0
"""Names of the topics, services and actions between the nodes; relative, so a namespace moves all.

Topics of the robot itself (joint states, commands, cameras) are in its profile.
"""

from __future__ import annotations

CONTROL_NODE = "control_node"
ACTION_CHUNK = "action_chunk"
MOTION = "motion"
POLICY_STATUS = "policy_status"
CONTROL_STATUS = "control_status"
TASK_STATUS = "task_status"
INSTRUCTION = "instruction"
# topic (std_msgs/Bool, true latches) and service (std_srvs/Trigger) of one name
EMERGENCY_STOP = "emergency_stop"
RESET = "reset"
RESUME = "resume"  # back to the policy after a takeover that ended in a hold
EXECUTE = "execute"
# before every command topic in shadow mode; private to control_node
SHADOW_PREFIX = "~/shadow/"
