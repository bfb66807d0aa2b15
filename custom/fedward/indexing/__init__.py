"""Index a folder of images: quality gate, pseudonyms, split by patient, cohort manifest, quarantine."""
