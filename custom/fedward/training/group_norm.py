"""Replace batch normalisation by group normalisation. This file needs torch alone: an exported model brings a copy."""

from __future__ import annotations

from torch import nn


def with_group_norm(network: nn.Module) -> nn.Module:
    """Replace every BatchNorm by GroupNorm, of 8 groups or the largest smaller power of two that divides its channels.

    The new layers start as the identity, as BatchNorm layers do. This does not use the networks' ``norm`` argument,
    because several networks have none and MONAI 1.6.1's ResNet applies its own to the first layer only.

    Returns:
        the same network, changed.
    """
    for parent in list(network.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, nn.modules.batchnorm._BatchNorm):
                channels = child.num_features
                groups = next(groups for groups in (8, 4, 2, 1) if channels % groups == 0)
                setattr(parent, name, nn.GroupNorm(groups, channels, affine=child.affine))
    return network
