"""Check that only messages that their hospital signed for this sum are added, by raw messages from its gates."""

from __future__ import annotations

import json
from base64 import b64decode
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from fedward.encryption.keys.signature import check_certificate, check_signature
from fedward.encryption.sum_context import SumContext
from fedward.errors import FederationError, FedwardError
from fedward.flare.protocol import CONFIRM, MODEL, Reply, to_reply
from fedward.flare.secagg_context import CERTIFICATE, KEY, NONCE, SCHEME, SIGNATURE
from fedward.flare.server.averaging import members as members_module
from fedward.flare.server.averaging.members import SIGNATURES_FILE, Members
from fedward.flare.server.rounds import JobRounds
from fedward.provisioning.crl import make_crl
from tests.support.flare.signed import SERVER, federation, members, server_kit, signer
from tests.support.flare.three import KEY as FEDERATION_KEY
from tests.support.flare.three import SITES, Three, first_sum

Change = Callable[[dict[str, Any]], dict[str, Any]]


def without(*names: str) -> Change:
    return lambda sealed: {name: value for name, value in sealed.items() if name not in names}


def put(**values: Any) -> Change:
    return lambda sealed: sealed | values


def answer(three: Three, site: str = "north") -> Reply:
    return to_reply(three.train(site, three.exchange.initial))


def refused(three: Three, reply: Reply, *, site: str = "north") -> str:
    """Why the reply does not count; the other two sites and an honest third still make a sum."""
    taken = three.exchange.round(three.exchange.initial)
    with pytest.raises(FedwardError) as error:
        taken.take(site, reply)
    assert site not in taken.sites
    return str(error.value)


def test_every_sealed_message_of_a_gate_is_signed(tmp_path: Path) -> None:
    three = Three(tmp_path)
    model = first_sum(three)
    sealed = answer(three, "north").sealed or {}
    assert SIGNATURE + MODEL in sealed and sealed[CERTIFICATE] == three.secure_aggregation("north").facts[CERTIFICATE]
    model, _ = three.round(model)
    final = three.final("north", model).sealed or {}
    messages = {name for name, value in final.items() if type(value) is bytes and value.startswith(b"FWSUM")}
    assert CONFIRM + MODEL in messages
    assert {SIGNATURE + name for name in messages} == {name for name in final if name.startswith(SIGNATURE)}


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (without(SIGNATURE + MODEL), "no signature of its hospital"),
        (without(CERTIFICATE), "no certificate of its hospital"),
        (put(**{SIGNATURE + MODEL: b"x" * 256}), "not signed"),
        (put(**{SIGNATURE + MODEL: "text"}), "no signature"),
        (put(**{CERTIFICATE: b"x"}), "not a certificate"),
        (put(**{CERTIFICATE: signer("coast").certificate}), "another hospital"),
        (put(**{CERTIFICATE: federation().issue("north", days=-1).public_bytes(Encoding.DER)}), "expired"),
    ],
)
def test_an_answer_that_is_not_signed_does_not_count(tmp_path: Path, change: Change, says: str) -> None:
    three = Three(tmp_path)
    honest = answer(three)
    assert says in refused(three, replace(honest, sealed=change(dict(honest.sealed or {}))))
    three.exchange.round(three.exchange.initial).take("north", honest)  # it was only the change


def test_a_message_with_one_changed_byte_is_refused_before_it_is_added(tmp_path: Path) -> None:
    three = Three(tmp_path)
    honest = answer(three)
    message = bytearray((honest.sealed or {})[MODEL])
    message[-1] ^= 1  # of the ciphertext: without a signature it spoils the sum of all
    assert "not signed" in refused(three, replace(honest, sealed={**(honest.sealed or {}), MODEL: bytes(message)}))


def test_a_message_of_another_round_or_run_is_refused(tmp_path: Path) -> None:
    three = Three(tmp_path)
    first = answer(three)
    for site in ("city", "coast"):
        three.train(site, three.exchange.initial)
    later = three.exchange.round(replace(three.exchange.initial, after=1))
    with pytest.raises(FedwardError, match="another round number"):
        later.take("north", first)
    again = three.again()
    with pytest.raises(FedwardError, match="another job id"):
        again.exchange.round(again.exchange.initial).take("north", first)


def test_the_signature_of_another_round_does_not_fit_a_message_of_this_one(tmp_path: Path) -> None:
    three = Three(tmp_path)
    replies = {site: answer(three, site) for site in SITES}
    taken = three.exchange.round(three.exchange.initial)
    for site, reply in replies.items():
        taken.take(site, reply)
    model = taken.close()
    second = to_reply(three.train("north", model))
    mixed = {**(second.sealed or {}), SIGNATURE + MODEL: (replies["north"].sealed or {})[SIGNATURE + MODEL]}
    with pytest.raises(FedwardError, match="not signed"):
        three.exchange.round(model).take("north", replace(second, sealed=mixed))


def test_a_confirmation_that_is_not_signed_is_left_out(tmp_path: Path) -> None:
    three = Three(tmp_path)
    model = first_sum(three)
    model, _ = three.round(model)
    said = {site: three.final(site, model) for site in SITES}
    said["north"] = replace(
        said["north"], sealed=without(SIGNATURE + CONFIRM + MODEL)(dict(said["north"].sealed or {}))
    )
    tally = three.exchange.confirmation("model", model.sealed or b"")
    assert list(tally.take(said)) == ["north"] and tally.sites == ["city", "coast"]


def test_a_site_of_an_older_version_is_declined_at_admission(tmp_path: Path) -> None:
    three = Three(tmp_path)
    entries = {KEY: FEDERATION_KEY.key_id, SCHEME: "aes-ctr"}
    replies = {
        site: Reply(sealed={**entries, NONCE: f"{at:032x}", CERTIFICATE: signer(site).certificate})
        for at, site in enumerate(SITES)
    }
    replies["north"] = Reply(sealed=without(CERTIFICATE)(dict(replies["north"].sealed or {})))
    first = three.hospitals["city"]
    rounds = JobRounds(first.job, job_id="job-9", initial=first.model, members=members())
    (reason,) = rounds.agree_on_key(replies).values()
    assert "no certificate" in reason and "update Fedward there" in reason
    assert sorted(rounds.roster or {}) == ["city", "coast"]
    with pytest.raises(FederationError, match="kit"):
        JobRounds(first.job, job_id="job-9", initial=first.model).agree_on_key(replies)


def test_a_revoked_certificate_counts_no_more(tmp_path: Path) -> None:
    three, crl = Three(tmp_path / "a"), tmp_path / "revoked.crl"
    honest, known = answer(three), members(crl=crl)
    known.renew()
    known.certificate(honest, site="north")
    root, now = federation(), datetime.now(UTC)
    serial = known.certificate(honest, site="north").serial_number
    crl.write_bytes(make_crl(root=root.root, key=root.key, revoked={serial: now}, number=2))
    known.renew()
    with pytest.raises(FedwardError, match="revoked"):
        known.certificate(honest, site="north")
    for content in (make_crl(root=root.root, key=root.key, revoked={}, number=1), b"damaged"):
        crl.write_bytes(content)
        known.renew()  # an older or damaged list admits nobody again
        with pytest.raises(FedwardError, match="revoked"):
            known.certificate(honest, site="north")
    with pytest.raises(FederationError):
        members(crl=crl).renew()


def test_the_run_folder_has_a_proof_of_each_message_that_was_added(tmp_path: Path) -> None:
    three = Three(tmp_path / "a")
    proofs = tmp_path / SIGNATURES_FILE
    three.exchange._members = members(proofs=[proofs])
    model = first_sum(three)
    lines = [json.loads(line) for line in proofs.read_text().splitlines()]
    assert [line["site"] for line in lines] == list(SITES) and model.sealed is not None
    for line in lines:
        der, topic = b64decode(line["certificate"]), SumContext(**line["topic"])
        found = check_certificate(
            der, site=line["site"], root=federation().root, server=SERVER, revoked=lambda one: False
        )
        assert (topic.purpose, topic.round_number) == ("model", 0) and len(line["sha256"]) == 64
        with pytest.raises(FedwardError):
            check_signature(b"another message", b64decode(line["signature"]), found, topic=topic, site=line["site"])


def test_the_proofs_are_bounded_and_outlive_the_servers_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server_kit(tmp_path / "kit")
    for name in ("run", "kept"):
        (tmp_path / name).mkdir()
    three = Three(tmp_path / "a")
    made = Members.of(tmp_path / "kit", run_folder=tmp_path / "run", checkpoints=tmp_path / "kept")
    three.exchange._members = made
    first_sum(three)
    (tmp_path / "run" / SIGNATURES_FILE).unlink()
    Members.of(tmp_path / "kit", run_folder=tmp_path / "run", checkpoints=tmp_path / "kept")
    kept, copy = ((tmp_path / name / SIGNATURES_FILE).read_bytes() for name in ("kept", "run"))
    assert kept == copy and kept.count(b"\n") == 3
    monkeypatch.setattr(members_module, "LARGEST_FILE", len(kept) + 10)
    again = Three(tmp_path / "b")
    again.exchange._members = made
    first_sum(again)
    assert sum(path.stat().st_size for path in (tmp_path / "run").iterdir()) <= 2 * (len(kept) + 10)
    assert len(list((tmp_path / "run").iterdir())) == 2
