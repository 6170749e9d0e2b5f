# SPDX-License-Identifier: Apache-2.0
"""What the routed experts of a policy are used for: decisions -> counts -> figures.

``record`` keeps the routers' decisions of an evaluation, ``information`` measures what they depend on,
``figures`` condenses both for ``results.json`` and the report. No ROS, no simulator.
"""
