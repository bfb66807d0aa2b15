"""What hospitals send sealed: the key's file, the box that carries it, and the messages that the server adds."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np

from fedward.encryption.keys.key import create_key
from fedward.encryption.keys.key_file import encode_key, read_key
from fedward.encryption.keys.sealed_box import BOX_MAGIC, open_box, seal_key
from fedward.encryption.keys.site_identity import read_identity
from fedward.encryption.message import MAGIC
from fedward.encryption.secure_sum import Aggregator, SecureSum
from fedward.encryption.sum_context import SumContext
from fedward.encryption.sums import identity_of
from fedward.errors import EncryptionError
from tests.fuzz.child import Target, main
from tests.fuzz.mutations import Edit, token
from tests.support.kits import central_kits

SITES = ("city", "coast", "north")


def key_file(folder: Path) -> Target:
    path = folder / "federation.key"
    keys = [create_key(generation=number) for number in (1, 7)]
    whole = [encode_key(key) for key in keys]
    secrets = tuple(json.loads(one)["secret"] for one in whole)

    def given(content: bytes) -> None:
        path.write_bytes(content)
        path.chmod(0o600)
        assert read_key(path) in keys, "a changed key file is damage"

    return Target(whole, given, private=secrets)


def box(folder: Path) -> Target:
    kits = central_kits(folder / "kits")
    north, south = (read_identity(kits.sites[name]) for name in ("north", "south"))
    key = create_key()
    whole = [
        seal_key(key, to=to, sender=sender) for to, sender in ((south.certificate, north), (north.certificate, south))
    ]

    def given(content: bytes) -> None:
        opened = open_box(content, owner=south)
        assert opened.key == key and opened.sender == "north", "a box that opens is the one that was sealed"

    given(whole[0])
    return Target(whole[:1], given, edits=(_in_header(BOX_MAGIC),), private=(json.loads(encode_key(key))["secret"],))


def message(folder: Path) -> Target:
    """Each input is given to the server that adds, and to a hospital that opens."""
    key = create_key()
    topic = SumContext(
        job_id="job-1", purpose="model", round_number=0, layout="a" * 64, context="b" * 64, length=6, bits=32
    )
    codes = np.arange(6, dtype=np.int64)
    sealed = {site: SecureSum(key, site=site).seal(codes, topic) for site in SITES}
    total = Aggregator(topic, scheme=key.scheme, key_id=key.key_id)
    for site in SITES[1:]:
        total.add(sealed[site], site=site)
    first = SecureSum(key, site="city")

    def given(content: bytes) -> None:
        refused = 0
        one = Aggregator(topic, scheme=key.scheme, key_id=key.key_id)
        try:
            one.add(content, site="city")
            assert one.sites == ("city",)
        except EncryptionError:
            refused += 1
            assert one.sites == (), "a refused message leaves the sum as it was"
        try:
            assert first.open(content, topic).codes.tolist() == (3 * codes).tolist(), "a false sum opens"
        except EncryptionError:
            refused += 1
            if refused == 2:
                raise
        assert len(identity_of(content)) == 64

    full = Aggregator(topic, scheme=key.scheme, key_id=key.key_id)
    for site in SITES:
        full.add(sealed[site], site=site)
    return Target([sealed["city"], full.sum()], given, edits=(_in_header(MAGIC),), private=())


def _in_header(magic: bytes) -> Edit:
    """Change a value in the header, and state its length truly."""

    def edit(drawn: random.Random, content: bytes) -> bytes:
        start = len(magic) + 4
        stop = start + int.from_bytes(content[len(magic) : start], "big")
        header = token(drawn, content[start:stop])
        return magic + len(header).to_bytes(4, "big") + header + content[stop:]

    return edit


if __name__ == "__main__":
    main({"key_file": key_file, "box": box, "message": message})
