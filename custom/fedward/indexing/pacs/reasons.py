"""List the reasons why an instance of the archive did not become a file here, with explanations for both sides."""

REASONS: dict[str, str] = {
    "empty-study": "has no series of the cohort's modalities, or none at all",
    "empty-series": "has no instances, though the archive lists it",
    "cut-short": "is in the archive, which cut its list short: have its limit raised",
    "not-listed": "is in the number that the archive states and not in its list: one of the two is wrong",
    "no-uid": "is in the archive's list without its UID, so it cannot be requested",
    "archive-refused": "the archive refused to send it: its own log says why",
    "class-not-stated": "the archive states no SOP class, and it is none of the usual ones: use c-move or dicomweb",
    "not-sent": "the archive reported success and did not send it, after three requests",
    "falls-silent": "the archive hangs up or falls silent when asked for it, and answers other questions",
    "sent-in-part": "the archive sent its series in part, and some of that part is not in its list either",
    "unreadable": "what was sent is no data set that can be read",
    "no-patient-id": "has no PatientID (0010,0020), so it cannot be kept on one side of the split",
    "unknown-class": "its SOP class is not one that the standard registers",
    "not-de-identified": "could not be de-identified, so nothing of it was written",
    "identifier-left": "an identifier was still in it after de-identification, so nothing of it was written",
    "not-asked": "was sent though nobody asked for it, so nothing of it was written",
}
