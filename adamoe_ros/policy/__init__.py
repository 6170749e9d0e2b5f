# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that acts: files, pre- and post-processing, engines, and the actor on top.

actor_base       what acts for a robot, wherever its network runs; checkpoint and profile joined
actor            observation and plan in, command rows out; called by policy_node, the evaluation
                 in simulation and the replay
runtime          a checkpoint on a device: observation in, chunk in its own units out
compatibility    checkpoint against robot profile
processing       observations -> model inputs, chunks -> physical units, by
                 prompt (tokens), vectors (state, actions), normalise, aloha, resizing (pictures)
engines/         what runs the network; by name, see there
checkpoint       our folder, read and written whole; tensor_file below it
checkpoint_formats/   other code bases' checkpoints, see there
upcycling        a dense checkpoint becomes a mixture, or a wider dense one
infer_file       ``adamoe infer``: one chunk from inputs in a file
"""
