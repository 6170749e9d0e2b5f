# SPDX-License-Identifier: Apache-2.0
"""The policy over a network: a server for anybody's clients, and our own client.

server          the port: token, TLS, pages, which protocol a client speaks
service         the policy behind it: loaded, measured, described; the episode of a connection
batching        what waits is inferred together, oldest first
requests        a client's request as the actor takes it, and the extra keys of our own client
interfaces      keys of foreign observations -> slots and joints (``config/interfaces/*.yaml``)
openpi, vla_eval, xpolicylab
                protocols of others, one connection each
loading         ``load_policy``: a folder or an address, in five lines of Python
remote_actor    the policy actor whose network runs in a server
link            its connection, made again by itself
door            address, token, certificates
wire, pictures  frames, pictures and numbers, read with bounds
metrics         figures for Prometheus and the terminal
"""
