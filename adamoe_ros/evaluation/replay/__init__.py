# SPDX-License-Identifier: Apache-2.0
"""Open-loop evaluation of policies on recorded bags.

``run`` drives one bag through ``predictor``s; ``errors`` compares chunks with what was done then,
``executed`` follows them with the real control core; ``results`` and ``page`` report,
``prediction_bag`` writes what was predicted beside the recording.
"""
