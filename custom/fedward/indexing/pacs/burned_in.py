"""Does text stand in the pixels? What the header and the kind of image say; the pixels themselves are not looked at.

The rules are the field's own: screen captures, ultrasound, endoscopy and photographs carry the patient's name in a
banner so often that their header's word for it is not enough, and scanners store dose pages and screen saves as images.
"""

from __future__ import annotations

from pydicom import Dataset

from fedward.dicom.header import text

_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage and its multi-frame kinds (PS3.4 B.5)."""
_BANNERED = frozenset({"US", "IVUS", "ES", "XC", "GM", "OT", "SC", "DG", "BI", "OP", "BDUS"})
_SCREENS = ("SCREEN", "CAPTURE", "DOSE", "PRINT", "REPORT", "PASTED", "PROTOCOL")
_DIGITISED = frozenset({"DV", "DF", "SD", "SI", "SYN"})
"""ConversionType (0008,0064) but WSD and DRW, whose class is Secondary Capture anyway."""


def may_have_text(header: Dataset) -> bool:
    """Whether patient text may be burned into the pixels.

    YES in BurnedInAnnotation (0028,0301) is believed always. NO, or nothing, is believed only of a kind of image that
    carries no banner: a secondary capture, a screen save and an ultrasound image may have text whatever they say.
    """
    if text(header, "BurnedInAnnotation").upper() == "YES":
        return True
    sop_class = text(header, "SOPClassUID")
    if sop_class == _CAPTURES or sop_class.startswith(f"{_CAPTURES}."):
        return True
    if text(header, "Modality").upper() in _BANNERED or text(header, "ConversionType").upper() in _DIGITISED:
        return True
    kind = text(header, "ImageType").upper()
    return any(word in kind for word in _SCREENS)
