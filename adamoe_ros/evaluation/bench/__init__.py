# SPDX-License-Identifier: Apache-2.0
"""``adamoe bench``: latency of the engines on this computer.

``workload`` makes a policy and an observation up and separates an engine's stages, ``timing`` times
candidates in turns, ``latency`` runs both and prints the table. ``benchmarks/bench_engines.py`` adds
other codes' pi0, a roofline and a memory run.
"""
