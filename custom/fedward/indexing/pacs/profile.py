"""List the attributes that an instance keeps when it leaves the archive.

Only attributes in ``KEPT`` (unchanged, at any depth) and ``CLEANED`` (set anew) are kept. All others are removed, known
or unknown; ``REMOVED`` gives the reason for those that a reader may look for. The table starts from DICOM PS3.15 table
E.1-1, the Basic Application Confidentiality Profile; ``EXCEPTIONS`` are the attributes that this profile would remove
or empty and this table keeps or sets anew.
"""

from __future__ import annotations

from pydicom.datadict import tag_for_keyword

KEPT: dict[str, tuple[str, ...]] = {
    "says what kind of image it is, which the cohort's policy asks": (
        "SOPClassUID",
        "Modality",
        "ImageType",
        "FrameType",
        "BodyPartExamined",
        "ViewPosition",
        "Laterality",
        "ImageLaterality",
        "FrameLaterality",
        "PatientOrientation",
        "PatientPosition",
        "RecognizableVisualFeatures",
        "PresentationIntentType",
    ),
    "says how to read the pixels": (
        "SamplesPerPixel",
        "PhotometricInterpretation",
        "PlanarConfiguration",
        "NumberOfFrames",
        "FrameIncrementPointer",
        "Rows",
        "Columns",
        "BitsAllocated",
        "BitsStored",
        "HighBit",
        "PixelRepresentation",
        "PixelAspectRatio",
        "SmallestImagePixelValue",
        "LargestImagePixelValue",
        "PixelPaddingValue",
        "PixelPaddingRangeLimit",
        "FloatPixelPaddingValue",
        "FloatPixelPaddingRangeLimit",
        "DoubleFloatPixelPaddingValue",
        "DoubleFloatPixelPaddingRangeLimit",
        "RedPaletteColorLookupTableDescriptor",
        "GreenPaletteColorLookupTableDescriptor",
        "BluePaletteColorLookupTableDescriptor",
        "RedPaletteColorLookupTableData",
        "GreenPaletteColorLookupTableData",
        "BluePaletteColorLookupTableData",
        "SegmentedRedPaletteColorLookupTableData",
        "SegmentedGreenPaletteColorLookupTableData",
        "SegmentedBluePaletteColorLookupTableData",
        "LossyImageCompression",
        "LossyImageCompressionRatio",
        "LossyImageCompressionMethod",
        "PixelData",
        "FloatPixelData",
        "DoubleFloatPixelData",
    ),
    "says what the stored values mean": (
        "RescaleIntercept",
        "RescaleSlope",
        "RescaleType",
        "Units",
        "WindowCenter",
        "WindowWidth",
        "VOILUTFunction",
        "ModalityLUTSequence",
        "ModalityLUTType",
        "VOILUTSequence",
        "LUTDescriptor",
        "LUTData",
        "PresentationLUTShape",
        "PixelIntensityRelationship",
        "PixelIntensityRelationshipSign",
        "PixelValueTransformationSequence",
        "FrameVOILUTSequence",
        "ConvolutionKernel",
        "KVP",
    ),
    "says where pixels and slices lie": (
        "PixelSpacing",
        "ImagerPixelSpacing",
        "NominalScannedPixelSpacing",
        "SpacingBetweenSlices",
        "SliceThickness",
        "ImagePositionPatient",
        "ImageOrientationPatient",
        "SeriesNumber",
        "AcquisitionNumber",
        "InstanceNumber",
        "SharedFunctionalGroupsSequence",
        "PerFrameFunctionalGroupsSequence",
        "PixelMeasuresSequence",
        "PlanePositionSequence",
        "PlaneOrientationSequence",
        "FrameContentSequence",
        "InStackPositionNumber",
        "DimensionIndexValues",
        "TemporalPositionIndex",
    ),
    "says which structure a mask shows and which image it lies on": (
        "SegmentationType",
        "SegmentationFractionalType",
        "MaximumFractionalValue",
        "SegmentSequence",
        "SegmentNumber",
        "SegmentLabel",
        "SegmentAlgorithmType",
        "SegmentedPropertyCategoryCodeSequence",
        "SegmentedPropertyTypeCodeSequence",
        "CodeValue",
        "CodingSchemeDesignator",
        "CodeMeaning",
        "SegmentIdentificationSequence",
        "ReferencedSegmentNumber",
        "DerivationImageSequence",
        "SourceImageSequence",
        "ReferencedSeriesSequence",
        "ReferencedInstanceSequence",
        "ReferencedSOPClassUID",
        "ReferencedFrameNumber",
        "SpatialLocationsPreserved",
    ),
    "names the scanner's make for subgroups, not the one machine": ("Manufacturer", "ManufacturerModelName"),
}
"""Reason -> attributes that stay, if their value is of the kind that the standard defines. Text that holds a part of
the patient's name or one of the patient's numbers is still dropped."""

CLEANED: dict[str, str] = {
    "PatientID": "keyed pseudonym; the same patient has the same one in every study, run and cohort of this site",
    "PatientName": "emptied",
    "PatientSex": "M, F, O or empty: a subgroup of the report",
    "PatientAge": "whole years, 090Y for 90 and above, from the dates where absent: a subgroup of the report",
    "PatientBirthDate": "emptied",
    "StudyDate": "emptied: no date is kept, not even shifted, since nothing here reads one",
    "StudyTime": "emptied",
    "StudyID": "emptied",
    "AccessionNumber": "emptied",
    "ReferringPhysicianName": "emptied",
    "StudyInstanceUID": "keyed pseudonym, 2.25.<integer> (PS3.5 B.2)",
    "SeriesInstanceUID": "likewise",
    "SOPInstanceUID": "likewise",
    "ReferencedSOPInstanceUID": "likewise, so that a mask still finds its image",
    "FrameOfReferenceUID": "likewise",
    "BurnedInAnnotation": "YES where the header or the kind of image says that text may stand in the pixels",
    "SpecificCharacterSet": "UTF-8",
    "PatientIdentityRemoved": "YES",
    "DeidentificationMethod": "this table and its edition",
    "DeidentificationMethodCodeSequence": "DCM 113100 and 113108 (PS3.16 CID 7050)",
    "LongitudinalTemporalInformationModified": "REMOVED",
}
"""Attributes that are set anew -> their content afterwards."""

REMOVED: dict[str, str] = {
    "private attributes (odd groups)": "nobody but their maker knows what is in them",
    "dates and times": "they find a person in any other list; training needs none",
    "free text: descriptions, comments, protocol and series names": "people type names into them",
    "institution, department, station, operators, physicians": "they name people and places",
    "device serial number, software versions, calibration": "they name the one machine",
    "overlays (60xx) and curves (50xx), and the unused bits of a pixel": "graphics with names may stand there",
    "icon images, presentation states, waveforms, encapsulated documents": "second copies with text in them",
    "UIDs that no line above names": "they lead back into the archive",
    "everything else": "it is not needed, and what is not known to be harmless does not stay",
}
"""Removed attributes -> reason, for readers; the code does not use this list."""

EXCEPTIONS: frozenset[str] = frozenset(
    {
        "AccessionNumber",
        "FrameOfReferenceUID",
        "PatientAge",
        "PatientBirthDate",
        "PatientID",
        "PatientName",
        "PatientSex",
        "ReferencedSOPInstanceUID",
        "ReferringPhysicianName",
        "SOPInstanceUID",
        "SeriesInstanceUID",
        "SourceImageSequence",
        "StudyDate",
        "StudyID",
        "StudyInstanceUID",
        "StudyTime",
    }
)
"""Attributes of PS3.15 table E.1-1 that this table keeps or sets anew; all others of that table are removed."""

STANDARD = "dicomfields_2026c"
"""Edition of PS3.15 table E.1-1, by the name that dicom-anonymizer gives it."""

EDITION = "2"
"""Edition of this table, raised when it changes: images of different editions are not mixed."""

KEPT_TAGS: frozenset[int] = frozenset(
    tag for keywords in KEPT.values() for keyword in keywords if (tag := tag_for_keyword(keyword)) is not None
)
REPLACED_UIDS: frozenset[int] = frozenset(
    tag for keyword in CLEANED if keyword.endswith("UID") and (tag := tag_for_keyword(keyword)) is not None
)
EMPTIED: tuple[str, ...] = tuple(keyword for keyword, how in CLEANED.items() if how.startswith("emptied"))
