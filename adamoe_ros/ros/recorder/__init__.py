# SPDX-License-Identifier: Apache-2.0
"""recorder_node and ``adamoe record``: episodes of everything raw, one bag each.

``recorder_node`` begins and ends episodes; ``recorder_topics`` subscribes, ``record_action`` is its action,
``parameter_query`` notes other nodes' parameters. ``record_session`` runs it in a terminal.
"""
