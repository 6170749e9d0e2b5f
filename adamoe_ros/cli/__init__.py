# SPDX-License-Identifier: Apache-2.0
"""Command line: parse, call, exit code. ``main.COMMANDS`` lists every command."""
