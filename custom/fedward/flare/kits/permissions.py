"""What each role may do, in every kit's ``local/authorization.json``, and the one privacy scope of a hospital's."""

from __future__ import annotations

from typing import Any

from fedward.privacy.policy.canonical_job import JOB_CLASSES

CLASS_ALLOW_LIST = JOB_CLASSES
"""Every class that a job may have built, by its full path: FLARE takes an entry that ends in a dot for whatever can be
called in any module below it. FLARE's own components that a kit needs are named by the kit."""

ROLES = ("project_admin", "org_admin", "lead", "member")
"""FLARE's roles of people, as their certificates name them."""
_RIGHTS: dict[str, tuple[str, str, str, str]] = {
    # right:         project_admin, org_admin, lead, member
    "submit_job": ("any", "none", "any", "none"),
    "clone_job": ("any", "none", "n:submitter", "none"),
    "manage_job": ("any", "o:submitter", "n:submitter", "none"),
    "download_job": ("any", "o:submitter", "n:submitter", "none"),
    "view": ("any", "any", "any", "any"),
    "operate": ("any", "o:site", "o:site", "none"),
    "shell_commands": ("none", "none", "none", "none"),
    # within the categories above, and closed: a log's configuration may name any class to be built at a hospital, and
    # what a hospital's environment is called is nobody's matter
    "configure_job_log": ("none", "none", "none", "none"),
    "configure_site_log": ("none", "none", "none", "none"),
    "report_env": ("none", "none", "none", "none"),
    # a site's error texts would pass by its gates
    "show_errors": ("none", "none", "none", "none"),
    "call": ("none", "none", "none", "none"),
    "byoc": ("none", "none", "none", "none"),
    # a log that the server holds: its own. Sites' logs never reach it (streaming is off), whoever asks
    "get_job_log": ("any", "o:submitter", "n:submitter", "none"),
    "server-predeployed-flwr": ("none", "none", "none", "none"),
}

AUTHORIZATION: dict[str, Any] = {
    "format_version": "1.0",
    "permissions": {role: {right: _RIGHTS[right][column] for right in _RIGHTS} for column, role in enumerate(ROLES)},
}

SCOPE = "fedward"
PRIVACY: dict[str, Any] = {
    "scopes": [
        {
            "name": SCOPE,
            "properties": {},
            "task_data_filters": [{"path": "fedward.flare.gates.ingress.IngressGate", "args": {}}],
            "task_result_filters": [{"path": "fedward.flare.gates.egress.EgressGate", "args": {}}],
        }
    ],
    "default_scope": SCOPE,
}
"""A site's ``local/privacy.json``. A job picks its scope by name: with exactly one there is no laxer one to pick. FLARE
applies a scope's filters to every task, before those of the job."""
