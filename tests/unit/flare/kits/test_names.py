"""Our forms of names against FLARE's own: a name that we take passes its checks, and its words are all refused."""

from __future__ import annotations

import re

import pytest
from cryptography import x509
from cryptography.x509.oid import NameOID
from hypothesis import given
from hypothesis import strategies as st
from nvflare.apis.fl_constant import SiteType
from nvflare.apis.job_def import ALL_SITES, SERVER_SITE_NAME
from nvflare.apis.utils.format_check import name_check
from nvflare.fuel.f3.cellnet.fqcn import FQCN
from nvflare.fuel.flare_api.api_spec import TargetType
from nvflare.fuel.utils.admin_name_utils import new_admin_client_name
from nvflare.job_config.defs import JobTargetType
from nvflare.lighter.constants import DEFINED_PARTICIPANT_TYPES
from pydantic import TypeAdapter, ValidationError

from fedward.provisioning.participants import PARTICIPANT_NAME
from fedward.settings import Email, HostName, SiteId

FORMS = {"server": TypeAdapter(HostName), "client": TypeAdapter(SiteId), "admin": TypeAdapter(Email)}
CHARACTERS = st.text(st.sampled_from("aZ9-._+%|@*:/ \nüٳ[]"), max_size=12)
SHAPED = st.from_regex(r"[a-zA-Z0-9.@_+-]{1,70}(@[a-z0-9.-]{1,30}\.[a-z]{1,4})?", fullmatch=True)
FLARES = [
    *(FQCN.ROOT_SERVER, SERVER_SITE_NAME, ALL_SITES, JobTargetType.SERVER, JobTargetType.CLIENT),
    *(TargetType.ALL, TargetType.SERVER, TargetType.CLIENT),
    *(SiteType.SERVER, SiteType.SERVER_PARENT, SiteType.CLIENT, SiteType.ALL),
    *DEFINED_PARTICIPANT_TYPES,
    "default",
]


def taken(kind: str, name: str) -> bool:
    try:
        FORMS[kind].validate_python(name)
    except ValidationError:
        return False
    return True


@given(kind=st.sampled_from(sorted(FORMS)), name=CHARACTERS | SHAPED)
def test_a_name_that_we_take_is_one_for_flare_a_certificate_a_cell_and_a_folder(kind: str, name: str) -> None:
    if not taken(kind, name):
        return
    assert not name_check(name, kind)[0]
    x509.NameAttribute(NameOID.COMMON_NAME, name)
    assert re.fullmatch(PARTICIPANT_NAME, name)
    if kind == "client":
        assert FQCN.validate(name) == "" and FQCN.split(name) == [name]


@pytest.mark.parametrize("word", sorted({*FLARES, *(word.lower() for word in FLARES)}))
def test_no_word_of_flares_is_a_site(word: str) -> None:
    assert not taken("client", word)


def test_no_name_of_flares_consoles_is_a_site() -> None:
    assert not taken("client", new_admin_client_name())


def test_a_certificate_holds_64_characters() -> None:
    x509.NameAttribute(NameOID.COMMON_NAME, "h" * 64)
    with pytest.raises(ValueError, match="64"):
        x509.NameAttribute(NameOID.COMMON_NAME, "h" * 65)
