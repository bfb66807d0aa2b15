"""Judge from the header and the kind of image if text is burned into the pixels; the pixels are not examined.

The rules are those of the field: screen captures, ultrasound, endoscopy and photographs carry the patient's name in a
banner so often that their header is not trusted, and scanners store dose pages and screen saves as images.
"""

from __future__ import annotations

from pydicom import Dataset

from fedward.dicom.header import text

_CAPTURES = "1.2.840.10008.5.1.4.1.1.7"
"""Secondary Capture Image Storage and its multi-frame classes (PS3.4 B.5)."""
_BANNERED = frozenset({"US", "IVUS", "ES", "XC", "GM", "OT", "SC", "DG", "BI", "OP", "BDUS"})
_SCREENS = ("SCREEN", "CAPTURE", "DOSE", "PRINT", "REPORT", "PASTED", "PROTOCOL")
_DIGITISED = frozenset({"DV", "DF", "SD", "SI", "SYN"})
"""Values of ConversionType (0008,0064) except WSD and DRW, whose class is Secondary Capture anyway."""


def may_have_text(header: Dataset) -> bool:
    """True if patient text may be burned into the pixels.

    YES in BurnedInAnnotation (0028,0301) is always trusted. NO, or no value, is trusted only for a kind of image
    without banners: a secondary capture, a screen save and an ultrasound image may have text in spite of their header.
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
