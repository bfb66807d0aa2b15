"""Recognise columns that identify people by their headings; such a column is never read.

A heading identifies people if it is the keyword of an attribute that PS3.15 table E.1-1 (Basic Application
Confidentiality Profile) removes, empties or replaces, and that ``fedward.indexing.pacs.profile`` does not keep, or if
it consists of common words such as "name", "surname", "Geburtsdatum" or "MRN".
"""

from __future__ import annotations

import re
import unicodedata
from functools import cache

from pydicom.datadict import keyword_for_tag

from fedward.indexing.pacs.profile import KEPT, STANDARD

_LISTED = """
name names surname firstname lastname middlename maidenname fullname givenname familyname forename birthname
nickname initials vorname nachname familienname geburtsname rufname nom prenom nomdenaissance apellido apellidos
nombre cognome achternaam voornaam dob birthdate birthday dateofbirth datebirth yearofbirth birthyear birthplace
placeofbirth geboren geburtsdatum geburtstag geburtsjahr geburtsort gebdatum gebdat datedenaissance naissance
fechadenacimiento fechanacimiento datadinascita geboortedatum mrn medicalrecord medicalrecordnumber medicalrecordno
hospitalnumber hospitalno ssn socialsecurity socialsecuritynumber nhs nhsnumber nationalid nationalidnumber passport
passportnumber insurance insurancenumber insuranceid policynumber versichertennummer versicherungsnummer
krankenversichertennummer sozialversicherungsnummer svnr steuerid patientennummer patientennr patientenid patnr
fallnummer fallnr aufnahmenummer accession accessionno accessionnr accno accnumber address adresse anschrift wohnort
street streetaddress strasse hausnummer zip zipcode postcode postalcode postleitzahl plz phone phonenumber telephone
telephonenumber telefon telefonnummer tel mobilephone mobilenumber cellphone handynummer fax faxnumber email mail
emailaddress mailaddress emailadresse nextofkin mothersname fathersname mothername fathername physician
physicianname doctor doctorname referringphysician radiologist radiologistname hausarzt arzt
"""
_WORDS = frozenset(_LISTED.split())
"""Words for what identifies a person, in lower case, without accents, blanks and signs."""
_BETWEEN = "patient patients pat pt s of the der des de number no nr num nummer id home work full"
_FILLERS = frozenset(_BETWEEN.split())
_OF_THE_PATIENT = re.compile(r"^(?:patients?|patienten|pat|pt)")


def plain(heading: str) -> str:
    """Return a heading in lower case, without blanks, dots, hyphens and underscores."""
    return re.sub(r"[\s._-]+", "", heading).lower()


def identifies_people(heading: str) -> bool:
    """True for the heading of a column that is never read."""
    if plain(heading) in _standard():
        return True
    text = unicodedata.normalize("NFKD", heading.replace("ß", "ss"))
    text = "".join(sign for sign in text if not unicodedata.combining(sign))
    words = re.sub(r"(?<=[a-z])(?=[A-Z])|[\W_]+", " ", text).casefold().split()
    joined = "".join(words)
    known = _WORDS & {joined, _OF_THE_PATIENT.sub("", joined), "".join(word for word in words if word not in _FILLERS)}
    return bool(known) or (bool(_WORDS.intersection(words)) and _WORDS.union(_FILLERS).issuperset(words))


@cache
def _standard() -> frozenset[str]:
    from dicomanonymizer.simpledicomanonymizer import initialize_actions  # here: it loads a large table

    tags = (group << 16 | element for group, element, *rest in initialize_actions(STANDARD) if not rest)
    kept = {keyword for keywords in KEPT.values() for keyword in keywords}
    return frozenset(plain(keyword) for tag in tags if (keyword := keyword_for_tag(tag)) and keyword not in kept)
