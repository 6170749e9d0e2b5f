# SPDX-License-Identifier: Apache-2.0
"""Checkpoints of other code bases, read and written tensor by tensor.

registry              the formats that ``adamoe convert`` knows, by name; a new one is a line there
openpi_jax, openpi_torch, lerobot, transformers_pi0
                      a format each: opens a source as a ``ForeignCheckpoint``; the first two hold
                      the tables of foreign names, which appear nowhere else
rules                 how a foreign tensor becomes ours, and back
sources, orbax_source  foreign files, read piece by piece (npz, safetensors; Orbax)
metadata, metadata_files  what the numbers mean and where that was found
foreign_checkpoint    names, shapes and metadata, checked before a number is read
importing, exporting  run a conversion
"""
