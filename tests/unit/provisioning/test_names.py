"""Names that become a certificate's name, an organisation or a folder: refused in the file, with the remedy."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fedward.errors import FederationError, SettingsError
from fedward.provisioning.participants import Kind, line_of, lines_of, require_name
from fedward.settings import FederationSpec, SitePolicy, parse, read_federation
from fedward.settings.names import FLARE_WORDS

LONG_HOST = "imaging-federation.radiology.university-hospital-of-a-long-name.region.health.example"
LABEL_63 = "h" * 63


def spec_of(
    *,
    name: str = "trial",
    host: str = "fl.example.org",
    sites: tuple[str, ...] = ("north",),
    emails: tuple[str, ...] = ("lead@trial.org",),
    organisation: str = "operator",
) -> FederationSpec:
    content: dict[str, Any] = {
        "name": name,
        "server": {"host": host, "port": 8102, "organisation": organisation},
        "hospitals": [{"site": site, "organisation": "north_clinic"} for site in sites],
        "people": [{"email": email, "organisation": "operator", "role": "lead"} for email in emails],
    }
    return parse(FederationSpec, content, where="federation.yml")


def refused(said: str, **names: Any) -> None:
    with pytest.raises(SettingsError) as caught:
        spec_of(**names)
    line = str(caught.value)
    assert said in line
    assert "\n" not in line and line.startswith("federation.yml: ") and line.endswith("correct the file")


def test_a_host_that_no_certificate_holds_is_refused_with_both_lengths_and_the_remedy() -> None:
    refused(
        f"server.host: has {len(LONG_HOST)} characters, and a certificate holds 64: give a shorter alias in DNS",
        host=LONG_HOST,
    )


@pytest.mark.parametrize(
    "host", ["localhost", "10.0.0.1", "FL.Example.org", "xn--mnchen-3ya.example", LABEL_63, "a." + "h" * 62, "server"]
)
def test_a_host_of_the_right_form_is_taken(host: str) -> None:
    assert lines_of(spec_of(host=host))[0].name == host


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("a." + LABEL_63, "has 65 characters"),
        ("h" * 64, "a part of more than 63"),
        ("", "is no host name"),
        ("fl.example.org.", "is no host name"),
        ("fl..example.org", "is no host name"),
        ("-a.org", "is no host name"),
        ("a-.org", "is no host name"),
        ("_srv.example.org", "is no host name"),
        ("*.example.org", "is no host name"),
        ("fl.example.org:8102", "without port"),
        ("https://fl.example.org", "is no host name"),
        ("münchen.example", "xn--"),
        ("::1", "IPv6"),
        ("[::1]", "IPv6"),
        ("999.1.1.1", "is no IPv4 address"),
        ("0.0.0.0", "nobody can connect to: give the name or address that the hospitals use"),
        ("0.0.0.1", "nobody can connect to"),
        ("224.0.0.1", "nobody can connect to"),
        ("255.255.255.255", "nobody can connect to"),
        ("::", "IPv6"),
        ("1", "is no IPv4 address"),
        ("../elsewhere", "is no host name"),
        ("/etc", "is no host name"),
        (".hidden", "is no host name"),
        ("a b", "is no host name"),
        ("north\n", "is no host name"),
        ("٣.example", "is no host name"),
    ],
)
def test_a_host_of_another_form_is_refused(host: str, said: str) -> None:
    refused(said, host=host)


@pytest.mark.parametrize("email", ["a@b.co", "first.last+trial@sub.b-c.example", "A_1@x.org", "a" * 57 + "@b.org"])
def test_an_email_of_the_right_form_is_taken(email: str) -> None:
    assert lines_of(spec_of(emails=(email,)))[-1].name == email


@pytest.mark.parametrize(
    ("email", "said"),
    [
        ("a" * 58 + "@b.orgs", "has 65 characters, and a certificate holds 64"),
        *(
            (email, "is no e-mail address that FLARE takes")
            for email in (
                *("a@b.c", "a@b.c1", "a@b_c.de", "a@-.co", "ü@b.co", "a%b@b.co", "a/b@c.de", "'a'@b.co", ".a@b.co"),
                *("-a@b.co", "_admin_x@b.co", "a b@c.de", "a@b@c.de", "a@b.co\n", "a", "a@", "@b.co", "a@b", "a@b.co|"),
            )
        ),
    ],
)
def test_an_email_of_another_form_is_refused(email: str, said: str) -> None:
    refused(said, emails=(email,))


@pytest.mark.parametrize(
    ("site", "like"),
    [
        ("North-Clinic", "north-clinic"),
        ("north_clinic", "north-clinic"),
        ("St. Mary", "st-mary"),
        ("Klinikum Köln", "klinikum-koln"),
        ("a--b-", "a-b"),
        ("123-clinic", "north-clinic"),
        ("", "north-clinic"),
        ("北京", "north-clinic"),
        ("north\n", "north"),
    ],
)
def test_a_hospital_of_another_form_is_refused_with_one_of_the_right_form(site: str, like: str) -> None:
    refused("hospitals.0.site: is no site's id: give lower-case letters, digits and single hyphens", sites=(site,))
    refused(f"a letter first, such as '{like}'", sites=(site,))
    spec_of(sites=(like,))


@pytest.mark.parametrize(
    ("name", "like"),
    [
        ("St. Mary", "St_Mary"),
        ("klinikum-köln", "klinikum_koln"),
        ("fed-ward", "fed_ward"),
        ("2024", "north_clinic"),
        ("_a", "a"),
        ("", "north_clinic"),
        ("a\n", "a"),
    ],
)
def test_an_organisation_or_federation_of_another_form_is_refused_with_one_of_the_right_form(
    name: str, like: str
) -> None:
    said = f"is no name here: give letters, digits and _, a letter first, such as '{like}'"
    refused(f"federation.yml: name: {said}", name=name)
    refused(f"server.organisation: {said}", organisation=name)
    spec_of(name=like, organisation=like)


@given(st.text(max_size=30))
def test_what_a_refusal_suggests_is_taken(name: str) -> None:
    for given_as in ("name", "sites"):
        try:
            spec_of(**{given_as: (name,) if given_as == "sites" else name})
        except SettingsError as refusal:
            if (suggested := re.search(r"such as '([^']+)'", str(refusal))) is not None:
                spec_of(**{given_as: (suggested[1],) if given_as == "sites" else suggested[1]})


@pytest.mark.parametrize(
    ("written", "read_as"),
    [
        *((word, "yes or no") for word in ("NO", "no", "on", "Yes", "true")),
        *((number, "a number") for number in ("2024", "1.5", "0x1F")),
        *((word, "nothing") for word in ("", "null", "~")),
        ("2024-05-01", "a date"),
    ],
)
def test_a_name_that_yaml_reads_as_another_thing_is_put_in_quotes(written: str, read_as: str, tmp_path: Path) -> None:
    lines = (
        f"name: {written}",
        "server: {host: fl.example.org, port: 8102, organisation: operator}",
        f"hospitals: [{{site: north, organisation: {written or 'null'}}}]",
        "people: [{email: a@b.co, organisation: operator, role: lead}]",
    )
    (tmp_path / "f.yml").write_text("\n".join(lines))
    with pytest.raises(SettingsError) as caught:
        read_federation(tmp_path / "f.yml")
    said = f"is read as {read_as}, not as text: put it in quotes"
    assert f"f.yml: name: {said}" in str(caught.value)
    assert f"hospitals.0.organisation: {said}" in str(caught.value)


@pytest.mark.parametrize("site", sorted(FLARE_WORDS))
def test_a_hospital_by_a_word_of_flares_is_refused_wherever_it_is_named(site: str, tmp_path: Path) -> None:
    refused("is reserved by FLARE", sites=("north", site))
    refused("give the hospital another id", sites=(site,))
    with pytest.raises(SettingsError, match="site: is reserved by FLARE"):
        parse(SitePolicy, {"site": site}, where="site.toml")
    with pytest.raises(FederationError, match=f"is reserved by FLARE.*'{site}'"):
        line_of(spec_of(), site)
    with pytest.raises(FederationError, match="site's name is reserved by FLARE"):
        require_name(site, Kind.site, where=tmp_path)


@pytest.mark.parametrize("site", ["server-one", "all-saints", "client-7", "serverless", "no-relay"])
def test_a_hospital_whose_id_only_contains_such_a_word_is_taken(site: str) -> None:
    assert lines_of(spec_of(sites=(site,)))[1].name == site


@pytest.mark.parametrize("site", ["Server", "@ALL", "server_parent", "_admin_1", "a.b", "a/b", "s" * 49, "n\n", ""])
def test_the_form_of_an_id_excludes_flares_other_words(site: str) -> None:
    refused("hospitals.0.site", sites=(site,))


@pytest.mark.parametrize(
    "names",
    [
        {"host": "north"},
        {"host": "North"},
        {"emails": ("lead@trial.org", "Lead@trial.org")},
        {"emails": ("lead@trial.org", "lead@Trial.ORG")},
    ],
)
def test_one_name_for_two_participants_is_refused_whatever_its_case(names: dict[str, Any]) -> None:
    refused("one name for two participants, case ignored", **names)


def test_one_organisation_in_two_spellings_is_refused() -> None:
    refused("one organisation in two spellings, case ignored: 'operator'", organisation="Operator")


@pytest.mark.parametrize(("name", "length"), [("n" * 63, 63), ("n" * 64, 64)])
def test_a_federation_whose_name_flare_would_cut_is_refused(name: str, length: int) -> None:
    """FLARE cuts it to 63, and would then make a second authority in the folder of the cut name."""
    if length <= 63:
        assert spec_of(name=name).name == name
    else:
        refused(f"name: has {length} characters, and a certificate holds 63", name=name)


def test_of_a_list_whose_every_line_is_wrong_each_line_is_named_and_the_list_is_not() -> None:
    with pytest.raises(SettingsError) as caught:
        spec_of(sites=("server", "s" * 49))
    assert "hospitals.0.site" in str(caught.value) and "hospitals.1.site" in str(caught.value)
    assert "at least 1 item" not in str(caught.value)
    with pytest.raises(SettingsError, match=r"hospitals: has 0 entries, and needs 1 or more"):
        spec_of(sites=())
