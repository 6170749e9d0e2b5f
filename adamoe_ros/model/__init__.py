# SPDX-License-Identifier: Apache-2.0
"""The network of the paper in plain PyTorch; read in this order.

config          every size, the presets
layers          torch's layers without their first weights, and those first weights
siglip, stem    image encoders: SigLIP's, and the small policies' with key points
gemma, moe      transformer blocks; router, experts and scale adapter
prefix_tokens   which image and prompt tokens of a batch exist
flow            time embedding, training pair, the integrator
conditioning    what a sampling is given: steps, frozen rows, guidance
policy_model    all of it as one network: prefix once, flow steps, loss
router_losses   load-balancing and z losses, statistics of the routers
weights         a network from named tensors; ``upcycle``: a mixture from a dense one

``policy`` runs and converts it, ``training`` fits it; engines compute the same in other forms.
"""
