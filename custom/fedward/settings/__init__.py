"""Define the settings files: a job, a hospital's policy, a federation. Frozen, unknown keys refused, read once."""

from fedward.settings.base import Fraction, Settings
from fedward.settings.data import Data, Patches
from fedward.settings.encryption import MIN_CONTRIBUTORS, JobEncryption, KeyScheme, Precision, Scheme
from fedward.settings.federation import FederationSpec, Hospital, Person, Server
from fedward.settings.job import Acceptance, JobHeader, JobSpec, Parent, Rounds
from fedward.settings.model import LARGEST_START, START_FILE, Model, beginnings
from fedward.settings.names import Email, FederationName, HostName, Name, SiteId
from fedward.settings.pacs import Pacs
from fedward.settings.privacy import CohortPrivacy, Disclosure, DpSgd, JobPrivacy, UpdateProtection
from fedward.settings.read import (
    JOB_FILE,
    changed_job,
    parse,
    plain,
    read_federation,
    read_job,
    read_plain,
    read_retention,
    read_sent,
    read_site,
)
from fedward.settings.site import Admission, CohortPolicy, Retention, SitePolicy
from fedward.settings.training import Component, Training, Transforms
from fedward.settings.transport import Transport

__all__ = [
    "JOB_FILE",
    "LARGEST_START",
    "MIN_CONTRIBUTORS",
    "START_FILE",
    "Acceptance",
    "Admission",
    "CohortPolicy",
    "CohortPrivacy",
    "Component",
    "Data",
    "Disclosure",
    "DpSgd",
    "Email",
    "FederationName",
    "FederationSpec",
    "Fraction",
    "Hospital",
    "HostName",
    "JobEncryption",
    "JobHeader",
    "JobPrivacy",
    "JobSpec",
    "KeyScheme",
    "Model",
    "Name",
    "Pacs",
    "Parent",
    "Patches",
    "Person",
    "Precision",
    "Retention",
    "Rounds",
    "Scheme",
    "Server",
    "Settings",
    "SiteId",
    "SitePolicy",
    "Training",
    "Transforms",
    "Transport",
    "UpdateProtection",
    "beginnings",
    "changed_job",
    "parse",
    "plain",
    "read_federation",
    "read_job",
    "read_plain",
    "read_retention",
    "read_sent",
    "read_site",
]
