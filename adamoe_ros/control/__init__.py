# SPDX-License-Identifier: Apache-2.0
"""Chunks to bounded joint commands: timeline, strategies, safety gate, watchdogs. Pure numpy.

``core.ControlCore`` is what control_node and the evaluation tick: ``admission`` lets a chunk in, ``timeline``
splices it (``strategies``, ``interpolation``, ``smoothing``), ``gate`` bounds every command (``limits``,
``workspace``), ``watchdog`` and ``status`` say why the arms hold. ``scheduling`` plans inferences with what
is left of the chunk before (``leftover``, ``rtc_math``); ``metrics`` measures seams.

No clock is read here: every call is given the time in ns.
"""
