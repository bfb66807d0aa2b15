"""Made-up hospitals as DICOM files, for the demo and the tests. No patient is in them."""
