"""List the reasons for which a file does not serve, and the flags of images that serve all the same."""

from __future__ import annotations

REASONS: dict[str, str] = {
    "unreadable": "cannot be opened, or is neither DICOM nor NIfTI: copy it again, or move it out of the folder",
    "truncated": "ends before its header says: the copy was cut short, send it again",
    "no-pixels": "has no picture in it: a report, a plan, a directory or a bare header",
    "not-an-image": "is a DICOM segmentation among the images: name its folder as the cohort's masks",
    "undecodable": "its pixels cannot be decoded: export it again in a transfer syntax or voxel type that can be read",
    "unsupported-shape": "has more than three axes: export one image or one volume a file",
    "wrong-modality": "its Modality (0008,0060) is not one that the cohort takes",
    "wrong-body-part": "its BodyPartExamined (0018,0015) is not one that the cohort takes",
    "missing-patient-id": "has no PatientID (0010,0020), so it cannot be kept on one side of the split",
    "blank-image": "is of one value all over, or nearly",
    "burned-in-annotation": "says that text is burned into its pixels (0028,0301), and the policy excludes that",
    "duplicate-instance": "is the same image as another file, by SOPInstanceUID or by content",
    "mixed-series": "its series holds slices that differ in what one volume has once: shape, spacing, direction, units",
    "incomplete-series": "its series lacks slices, or another of its slices is in quarantine",
    "uneven-spacing": "its series has no even spacing between slices",
    "two-sequences": "fits the rules of several of the cohort's sequences: make the rules narrower",
    "missing-label": "has no value in a label column that the cohort requires",
    "missing-mask": "has no usable mask, and the cohort requires one",
    "changed": "is not the file that was indexed: index again",
    "missing-structure": "its mask describes none of the structures that are asked for",
    "mask-misfit": "is a mask whose shape, position or reference does not fit its image",
    "no-label-map": "is a mask whose values are no whole numbers from 0: export it as a label map",
    "orphan-mask": "is a mask of an image that is not in the cohort or is itself in quarantine",
    "incomplete-mask": "is one of several masks of an image, another of which cannot be used; the image now has none",
    "second-mask": "is one of several masks that show the same structure of one image, which now has none",
}
"""Reason for quarantine -> explanation for those who maintain the archive."""

OF_MASKS = frozenset(
    {"missing-structure", "mask-misfit", "no-label-map", "orphan-mask", "incomplete-mask", "second-mask"}
)
"""Reasons for which a mask file is set aside."""

FLAGS: dict[str, str] = {
    "burned-in-annotation": "says that text is burned into its pixels (0028,0301)",
    "colour": "is in colour: only its luminance is used",
    "first-frame-only": "is a colour film: only its first frame is used",
    "gantry-tilt": "its slices are shifted by more than a pixel, as by a tilted gantry; nothing corrects it",
    "window-ignored": "has a window or VOI LUT that cannot be applied or leaves nothing to see: it is not applied",
    "window-saturates": "has a window or VOI LUT that gives at least 90 % of the pixels one value",
}
"""Flag of an image -> explanation for those who maintain the archive."""
