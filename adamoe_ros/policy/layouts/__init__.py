# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of other code bases, read and written tensor by tensor.

``rules`` says how a foreign tensor becomes ours, ``sources`` reads foreign files piece by piece,
``facts`` collects what the numbers mean and who said so, ``importing`` and ``exporting`` run a
conversion; ``registry`` lists the layouts. Foreign names appear nowhere else.
"""
