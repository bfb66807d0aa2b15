"""Check that connections are admitted or cut, however the revocation list changes or breaks."""

from __future__ import annotations

import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509

from fedward.errors import FederationError
from fedward.flare.listener import connection_guard
from fedward.flare.listener.connection_guard import (
    EXPIRED,
    FOREIGN,
    MOST_CALLS,
    NO_CERTIFICATE,
    NO_LIST,
    UNREADABLE,
    CallerError,
    ConnectionGuard,
    CrowdedError,
    Guest,
    watch,
)
from fedward.provisioning.crl import make_crl
from fedward.provisioning.network.health import REVOKED
from tests.support.authority import ThrowAway, authority, pem, signed

AUTHORITY = authority()
NORTH, SOUTH = AUTHORITY.issue("north", serial=1), AUTHORITY.issue("south", serial=2)


class Door:
    """A connection guard, the file of its list, and its log."""

    def __init__(self, folder: Path) -> None:
        self.path, self.said, self.cut = folder / "revoked.crl", [""], []  # type: ignore[var-annotated]
        self.write(1)
        self.keeper = ConnectionGuard(self.path, root=AUTHORITY.root, log=self.said.append)

    def write(self, number: int, *serials: int, of: ThrowAway = AUTHORITY) -> None:
        dates = dict.fromkeys(serials, datetime.now(UTC))
        self.path.write_bytes(make_crl(root=of.root, key=of.key, revoked=dates, number=number))

    def admit(self, certificate: x509.Certificate) -> Guest:
        return self.keeper.admit([pem(certificate)], cut=lambda: self.cut.append(certificate.serial_number))

    def refuses(self, certificate: x509.Certificate) -> str:
        with pytest.raises(CallerError) as caught:
            self.admit(certificate)
        return str(caught.value)


@pytest.fixture
def door(tmp_path: Path) -> Door:
    return Door(tmp_path)


@pytest.mark.parametrize(
    ("pems", "why"),
    [
        (None, NO_CERTIFICATE),
        ([], NO_CERTIFICATE),
        ([b""], UNREADABLE),
        ([b"no certificate"], UNREADABLE),
        ([pem(NORTH), pem(SOUTH)], UNREADABLE),
        ([pem(authority().issue("north"))], FOREIGN),
        ([pem(signed("north", AUTHORITY.root.subject, authority().key))], FOREIGN),
        ([pem(signed("demo", AUTHORITY.root.subject, authority().key, ca=True))], FOREIGN),
    ],
)
def test_only_one_certificate_of_this_authority_comes_in(door: Door, pems: list[bytes] | None, why: str) -> None:
    with pytest.raises(CallerError) as caught:
        door.keeper.admit(pems, cut=lambda: None)
    assert str(caught.value) == why


def test_a_chain_through_a_site_is_refused_though_its_serial_number_is_not_revoked(door: Door) -> None:
    below = signed("north", NORTH.subject, AUTHORITY.key)  # even one that the authority's key signed
    assert door.refuses(below) == FOREIGN


def test_a_new_list_takes_effect_at_the_next_guest_without_a_watch(door: Door) -> None:
    door.admit(NORTH)
    door.write(2, 1)
    assert door.refuses(NORTH) == REVOKED
    door.admit(SOUTH)
    assert door.keeper.revocations.number == 2


def test_who_is_in_when_a_list_comes_is_cut_once_and_the_others_are_not(door: Door) -> None:
    door.admit(NORTH)
    gone = door.admit(NORTH)
    door.keeper.leave(gone)
    door.admit(SOUTH)
    door.write(2, 1)
    assert door.keeper.put_out() == frozenset()  # nobody has looked yet
    door.keeper.look()
    assert door.keeper.put_out() == {"north"}
    assert door.cut == [1]
    door.keeper.put_out()
    assert door.cut == [1]


def test_a_name_is_out_as_long_as_nobody_comes_with_a_new_certificate_of_it(door: Door) -> None:
    guest = door.admit(NORTH)
    door.write(2, 1)
    door.keeper.look()
    assert [door.keeper.put_out() for _ in range(2)] == [{"north"}] * 2
    again = door.admit(AUTHORITY.issue("north", serial=3))
    assert door.refuses(NORTH) == REVOKED
    assert door.keeper.put_out() == frozenset()
    door.keeper.leave(again)
    door.keeper.leave(guest)
    assert door.keeper.put_out() == frozenset()


def test_an_overlap_of_old_and_new_certificate_does_not_sign_the_new_one_out(door: Door) -> None:
    door.admit(AUTHORITY.issue("north", serial=3))
    door.admit(NORTH)  # the old one, after the new one
    door.write(2, 1)
    door.keeper.look()
    assert door.keeper.put_out() == frozenset()
    assert door.cut == [1]


def test_a_connection_that_cannot_be_cut_keeps_no_other_in_and_is_tried_again(door: Door) -> None:
    def resist() -> None:
        raise RuntimeError("not now")

    door.keeper.admit([pem(NORTH)], cut=resist)
    door.admit(SOUTH)
    door.write(2, 1, 2)
    door.keeper.look()
    for _ in range(2):
        assert door.keeper.put_out() == {"north", "south"}
    assert door.cut == [2]
    assert sum("cannot be cut" in line for line in door.said) == 2


def test_a_participant_has_a_few_calls_open_and_keeps_nobody_else_out(door: Door) -> None:
    """Under all certificates of its name together."""
    newer = AUTHORITY.issue("north", serial=3)
    inside = [door.admit(NORTH if number % 2 else newer) for number in range(MOST_CALLS)]
    for certificate in (NORTH, newer):
        with pytest.raises(CrowdedError, match="calls of this certificate are open"):
            door.admit(certificate)
    door.admit(SOUTH)
    door.keeper.leave(inside[0])
    door.admit(newer)
    assert sum("calls of this certificate" in line for line in door.said) == 2, "once a certificate"


def _delete(door: Door) -> None:
    door.path.unlink()


def _garble(door: Door) -> None:
    door.path.write_bytes(door.path.read_bytes()[:-30])


def _empty(door: Door) -> None:
    door.path.write_bytes(b"")


def _folder(door: Door) -> None:
    door.path.unlink()
    door.path.mkdir()


def _foreign(door: Door) -> None:
    door.write(9, of=authority())


@pytest.mark.parametrize("break_it", [_delete, _garble, _empty, _folder, _foreign])
def test_a_broken_list_shuts_the_door_until_it_is_mended(door: Door, break_it: Callable[[Door], None]) -> None:
    door.write(2, 1)
    inside = door.admit(SOUTH)
    break_it(door)
    for _ in range(3):
        assert door.refuses(SOUTH) == NO_LIST
        assert door.refuses(NORTH) == REVOKED
    assert sum("nobody new is let in" in line for line in door.said) == 1
    assert door.keeper.put_out() == frozenset()
    assert door.cut == []
    if door.path.is_dir():
        door.path.rmdir()
    door.write(2, 1)
    assert door.refuses(NORTH) == REVOKED
    door.keeper.leave(inside)
    door.admit(SOUTH)


def test_an_older_list_lets_nobody_in_again(door: Door) -> None:
    door.write(5, 1)
    door.keeper.look()
    door.write(4)
    assert door.refuses(NORTH) == REVOKED
    assert door.keeper.revocations.number == 5
    assert any("older than 5" in line for line in door.said)
    door.path.unlink()
    door.keeper.look()
    door.write(4)  # a broken list in between makes the older one no newer
    assert door.refuses(NORTH) == REVOKED
    door.admit(SOUTH)


def test_a_parser_that_breaks_does_not_make_the_file_proven(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(content: bytes, **kwargs: object) -> None:
        raise MemoryError

    door.path.write_bytes(b"something new")
    with monkeypatch.context() as patched:
        patched.setattr(connection_guard, "parse_crl", broken)
        with pytest.raises(MemoryError):
            door.admit(SOUTH)
    assert door.refuses(SOUTH) == NO_LIST


def test_without_a_list_there_is_no_doorkeeper(tmp_path: Path) -> None:
    with pytest.raises(FederationError, match="cannot be read"):
        ConnectionGuard(tmp_path / "revoked.crl", root=AUTHORITY.root, log=lambda line: None)


def test_the_watch_outlives_an_error_and_says_so(door: Door, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection_guard, "POLL_S", 0.01)
    calls: list[frozenset[str]] = []
    done = threading.Event()

    def sign_out(names: object) -> None:
        calls.append(names)  # type: ignore[arg-type]
        if len(calls) == 1:
            raise RuntimeError("FLARE has other plans")
        if {"north"} in calls:
            done.set()

    door.admit(NORTH)
    watch(door.keeper, sign_out=sign_out, log=door.said.append)
    door.write(2, 1)
    assert done.wait(10)
    assert door.cut == [1]
    assert any("RuntimeError, trying again" in line for line in door.said)


def test_the_last_certificate_of_each_name_is_told_whether_it_is_in_or_not(door: Door) -> None:
    assert door.keeper.certificates == {}
    door.keeper.leave(door.admit(NORTH))
    newer = AUTHORITY.issue("north", serial=3)
    door.admit(newer)
    door.admit(SOUTH)
    found = door.keeper.certificates
    assert {name: one.serial_number for name, one in found.items()} == {"north": 3, "south": 2}
    found.clear()
    assert set(door.keeper.certificates) == {"north", "south"}, "a copy: nobody edits the doorkeeper's"


@pytest.mark.parametrize("role", ["project_admin", "org_admin", "lead", "member"])
def test_a_certificate_with_a_persons_role_is_a_persons(door: Door, role: str) -> None:
    door.admit(AUTHORITY.issue("lead@example.org", roles=(role,)))
    assert door.keeper.is_person("lead@example.org")


@pytest.mark.parametrize("roles", [(), ("client",), ("server",), ("Lead",), ("lead", "member"), ("client", "lead")])
def test_any_other_certificate_is_nobodys_person(door: Door, roles: tuple[str, ...]) -> None:
    """An invited hospital's certificate names the role "client"; one of a kit that the operator made names none."""
    door.admit(AUTHORITY.issue("north", roles=roles))
    assert not door.keeper.is_person("north")
    assert not door.keeper.is_person("never-let-in")


def test_who_is_in_when_the_certificate_ends_is_cut_and_signed_out_and_comes_back_renewed(door: Door) -> None:
    """TLS looks at the end when a connection begins, and never again."""
    clock = [datetime.now(UTC)]
    keeper = ConnectionGuard(door.path, root=AUTHORITY.root, log=door.said.append, now=lambda: clock[0])
    cut: list[str] = []
    short = AUTHORITY.issue("north", days=1)
    keeper.admit([pem(short)], cut=lambda: cut.append("north"))
    keeper.admit([pem(SOUTH)], cut=lambda: cut.append("south"))
    assert keeper.put_out() == frozenset()
    clock[0] = short.not_valid_after_utc
    assert keeper.put_out() == frozenset(), "the last second belongs to it"
    clock[0] += timedelta(seconds=1)
    assert [keeper.put_out() for _ in range(2)] == [{"north"}] * 2
    assert cut == ["north"]
    assert "certificate of 'north' has expired: its connection is cut" in door.said
    with pytest.raises(CallerError, match=EXPIRED):
        keeper.admit([pem(short)], cut=lambda: None)
    keeper.admit([pem(AUTHORITY.issue("north", days=9))], cut=lambda: None)
    assert keeper.put_out() == frozenset()


def test_an_expired_certificate_that_is_revoked_too_is_refused_as_revoked(door: Door) -> None:
    keeper = ConnectionGuard(door.path, root=AUTHORITY.root, log=door.said.append, now=lambda: datetime.now(UTC))
    door.write(2, 7)
    with pytest.raises(CallerError, match=REVOKED):
        keeper.admit([pem(AUTHORITY.issue("north", serial=7, days=-1))], cut=lambda: None)
