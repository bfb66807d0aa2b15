"""DICOM in: read, index, quality gate, quarantine, synthetic cohort."""
