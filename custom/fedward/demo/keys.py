"""Share a key among a demo's hospitals as real ones do: one makes it, and the operator carries sealed boxes."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from fedward.demo.hospitals import FEDERATION_KEY
from fedward.encryption.keys.key import create_key
from fedward.encryption.keys.key_file import write_key
from fedward.encryption.keys.sealed_box import open_box, seal_key
from fedward.encryption.keys.site_identity import read_identity
from fedward.flare.kits.central import Kits
from fedward.settings import KeyScheme


def share_key(kits: Kits, configs: Mapping[str, Path], *, scheme: KeyScheme = "aes-ctr") -> str:
    """Make a key at the first hospital and seal it to each of the others; return the key's id.

    Args:
        kits: startup kits of the hospitals; the boxes are sealed to their certificates.
        configs: site -> its ``site.toml``; the key is written beside it.
        scheme: scheme of the key.

    Raises:
        EncryptionError: a box that its hospital cannot open.
    """
    maker, *others = sorted(configs)
    key = create_key(scheme)
    sender = read_identity(kits.sites[maker])
    write_key(key, configs[maker].with_name(FEDERATION_KEY), replace=True)
    for site in others:
        owner = read_identity(kits.sites[site])
        box = seal_key(key, to=owner.certificate, sender=sender)
        write_key(open_box(box, owner=owner).key, configs[site].with_name(FEDERATION_KEY), replace=True)
    return key.key_id
