# SPDX-License-Identifier: Apache-2.0
"""control_node: chunks in, bounded joint commands out, at a steady rate.

``control_node`` ticks the control core; ``control_inputs`` listens, ``control_messages`` converts,
``command_outputs`` publishes; ``control_conflicts`` looks for others that move the same arms. ``ticks`` and
``realtime`` are about its timing, ``control_diagnostics`` says how it goes, ``control_parameters`` declares the
parameters.
"""
