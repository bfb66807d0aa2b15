"""Choose the SOP classes to offer for instances whose class the archive does not state (PS3.4 B.5)."""

from __future__ import annotations

from collections.abc import Sequence

from pydicom import uid

from fedward.indexing.pacs.archive import Instance, Series

MOST = 8
"""Classes of one association: times 15 transfer syntaxes, and the model, 121 of its 128 contexts."""
_COMMON = (
    uid.ComputedRadiographyImageStorage,
    uid.DigitalXRayImageStorageForPresentation,
    uid.CTImageStorage,
    uid.MRImageStorage,
    uid.SecondaryCaptureImageStorage,
    uid.UltrasoundImageStorage,
    uid.DigitalMammographyXRayImageStorageForPresentation,
    uid.PositronEmissionTomographyImageStorage,
    uid.UltrasoundMultiFrameImageStorage,
    uid.XRayAngiographicImageStorage,
    uid.XRayRadiofluoroscopicImageStorage,
    uid.NuclearMedicineImageStorage,
    uid.SegmentationStorage,
    uid.EnhancedCTImageStorage,
    uid.EnhancedMRImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
)
_CAPTURES = (
    uid.SecondaryCaptureImageStorage,
    uid.MultiFrameTrueColorSecondaryCaptureImageStorage,
    uid.MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
)
_OF_MODALITY = {
    "CR": (uid.ComputedRadiographyImageStorage, uid.DigitalXRayImageStorageForPresentation),
    "DX": (
        uid.DigitalXRayImageStorageForPresentation,
        uid.DigitalXRayImageStorageForProcessing,
        uid.ComputedRadiographyImageStorage,
    ),
    "MG": (
        uid.DigitalMammographyXRayImageStorageForPresentation,
        uid.DigitalMammographyXRayImageStorageForProcessing,
        uid.BreastTomosynthesisImageStorage,
        uid.ComputedRadiographyImageStorage,
    ),
    "IO": (uid.DigitalIntraOralXRayImageStorageForPresentation, uid.DigitalIntraOralXRayImageStorageForProcessing),
    "PX": (uid.DigitalXRayImageStorageForPresentation, uid.ComputedRadiographyImageStorage),
    "CT": (uid.CTImageStorage, uid.EnhancedCTImageStorage, uid.LegacyConvertedEnhancedCTImageStorage),
    "MR": (
        uid.MRImageStorage,
        uid.EnhancedMRImageStorage,
        uid.EnhancedMRColorImageStorage,
        uid.LegacyConvertedEnhancedMRImageStorage,
    ),
    "PT": (
        uid.PositronEmissionTomographyImageStorage,
        uid.EnhancedPETImageStorage,
        uid.LegacyConvertedEnhancedPETImageStorage,
    ),
    "NM": (uid.NuclearMedicineImageStorage,),
    "US": (uid.UltrasoundImageStorage, uid.UltrasoundMultiFrameImageStorage),
    "XA": (uid.XRayAngiographicImageStorage, uid.EnhancedXAImageStorage, uid.XRay3DAngiographicImageStorage),
    "RF": (uid.XRayRadiofluoroscopicImageStorage, uid.EnhancedXRFImageStorage, uid.XRayAngiographicImageStorage),
    "SEG": (uid.SegmentationStorage, uid.SurfaceSegmentationStorage),
    "OP": (uid.OphthalmicPhotography8BitImageStorage, uid.OphthalmicPhotography16BitImageStorage),
    "OPT": (uid.OphthalmicTomographyImageStorage,),
    "ES": (uid.VLEndoscopicImageStorage,),
    "GM": (uid.VLMicroscopicImageStorage,),
    "SM": (uid.VLWholeSlideMicroscopyImageStorage, uid.VLSlideCoordinatesMicroscopicImageStorage),
    "XC": (uid.VLPhotographicImageStorage,),
    "RTIMAGE": (uid.RTImageStorage,),
}


def classes_to_offer(series: Series, wanted: Sequence[Instance], *, alone: bool) -> list[str]:
    """Return at most ``MOST`` SOP classes: those that the archive states, and if it states not all, usual ones.

    A first request, for an entire series, offers the usual classes of the series' modality. A request for single
    instances, which then did not come, offers others.
    """
    stated = sorted({one.sop_class for one in wanted if one.sop_class})
    if all(one.sop_class for one in wanted) and stated:
        return stated[:MOST]
    own = [*_OF_MODALITY.get(series.modality, ()), *_CAPTURES]
    first = list(dict.fromkeys([*own, *_COMMON]))[:MOST]
    usual = list(dict.fromkeys([*(one for one in _COMMON if one not in first), *first])) if alone else first
    return list(dict.fromkeys([*stated, *map(str, usual)]))[:MOST]
