# SPDX-License-Identifier: Apache-2.0
"""Chunks to bounded joint commands: timeline, strategies, safety gate, watchdogs. Pure numpy.

No clock is read here: every call is given the time in ns.
"""
