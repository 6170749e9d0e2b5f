# SPDX-License-Identifier: Apache-2.0
"""Reports: figures -> charts and values -> one self-contained HTML page by a jinja2 template.

``summary`` has a demo's figures (``results.json``), ``svg`` draws charts, ``rendering`` fills the
templates; ``demo_page`` and ``evaluation_page`` say what is on their pages, ``usage_page`` the part
about experts. ``sim_video`` renders episodes again from the simulator's states, ``video`` composes and
encodes frames. Called by ``cli/`` and ``evaluation.results``; ``evaluation.replay`` has its own page.
"""
