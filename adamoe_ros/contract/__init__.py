# SPDX-License-Identifier: Apache-2.0
"""What every layer agrees on: errors, observations, action chunks, robot profiles, manifests.

Everything else imports this, in one direction:
``cli -> ros | training | evaluation -> data | sim -> policy | control | streams -> model -> contract``.
"""
