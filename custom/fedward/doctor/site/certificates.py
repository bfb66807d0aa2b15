"""Check the kit's certificates: their dates, key, issuer and name."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import load_pem_private_key
from cryptography.x509.oid import NameOID

from fedward.doctor.context import Case
from fedward.doctor.findings import Finding, Voice
from fedward.errors import EncryptionError
from fedward.provisioning.participants import Kind
from fedward.provisioning.validity import fault, kit_certificates, soon

_NEW_KIT = "ask the operator for a kit of this federation, or join anew with `fedward site join FILE --request FOLDER`"
_LARGEST = 2**16


def certificate_files(case: Case) -> Iterator[Finding]:
    """Check that the site's and the authority's certificate can be read."""
    say = Voice("certificate-files")
    for name in ("client.crt", "rootCA.pem"):
        try:
            _ = case.certificate if name == "client.crt" else case.root
        except EncryptionError as error:
            yield say.refused(error, remedy=_NEW_KIT)
        else:
            yield say.passed("is a certificate", where=f"startup/{name}")


def certificate_days(case: Case) -> Iterator[Finding]:
    """Check that neither certificate has expired, is not valid yet, or ends within ``SOON_DAYS``."""
    say, now = Voice("certificate-days"), datetime.fromtimestamp(case.now(), UTC)
    for one in kit_certificates(case.kit, Kind.site):
        where, whose, left = f"startup/{one.where.name}", one.whose, (one.ends - now).days
        if (why := fault(one, now=now)) is not None:
            yield say.refused(why, where=where, remedy=one.renewal)
        elif soon(one, now=now) is not None:
            yield say.warned(
                f"{whose} certificate ends in {left} days", where=where, value=one.ends.date(), remedy=one.renewal
            )
        else:
            yield say.passed(f"{whose} certificate has {left} days left", where=where, value=one.ends.date())


def certificate_key(case: Case) -> Iterator[Finding]:
    """Check that the private key is the certificate's."""
    say, path = Voice("certificate-key"), case.startup / "client.key"
    try:
        with path.open("rb") as file:
            key = load_pem_private_key(file.read(_LARGEST), password=None)
    except OSError as error:
        yield say.failed("private key cannot be read", where=path, value=error.strerror, remedy=_NEW_KIT)
        return
    except (ValueError, TypeError, UnsupportedAlgorithm):
        yield say.failed("is not a private key without a passphrase", where=path, remedy=_NEW_KIT)
        return
    if key.public_key() != case.certificate.public_key():
        yield say.failed("private key is another certificate's", where=path, remedy=_NEW_KIT)
        return
    yield say.passed("private key is the certificate's", where="startup/client.key")


def certificate_root(case: Case) -> Iterator[Finding]:
    """Check that the kit's authority issued the site's certificate."""
    say, where = Voice("certificate-root"), "startup/rootCA.pem"
    try:
        authority = case.root.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    except (x509.ExtensionNotFound, ValueError):
        authority = False
    if not authority:
        yield say.failed("is not the certificate of an authority", where=where, remedy=_NEW_KIT)
        return
    try:
        case.certificate.verify_directly_issued_by(case.root)
    except (InvalidSignature, ValueError, TypeError):
        yield say.failed("did not issue this site's certificate: another authority's", where=where, remedy=_NEW_KIT)
        return
    yield say.passed("issued this site's certificate", where=where, value=_names(case.root))


def certificate_name(case: Case) -> Iterator[Finding]:
    """Check that the certificate's name is the site's."""
    say, name = Voice("certificate-name"), _names(case.certificate)
    if name != case.policy.site:
        remedy = f"set site = {name!r} in site.toml, if this kit is yours"
        yield say.failed(f"certificate is {name!r}'s and the policy {case.policy.site!r}'s", remedy=remedy)
        return
    yield say.passed("certificate and policy name the same site", value=name)


def _names(certificate: x509.Certificate) -> str:
    return ", ".join(str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME))
