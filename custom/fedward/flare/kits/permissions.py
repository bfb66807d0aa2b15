"""Define each role's rights, for every kit's ``local/authorization.json``, and a hospital's one privacy scope."""

from __future__ import annotations

from typing import Any

from fedward.privacy.policy.canonical_job import JOB_CLASSES

CLASS_ALLOW_LIST = JOB_CLASSES
"""Classes that a job may have built, each by its full path: an entry that ends in a dot would allow, in FLARE, every
callable in any module below it. The kit names those components of FLARE that it needs."""

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
    # these belong to the categories above, and are denied: a log's configuration may name any class to be built at a
    # hospital, and a hospital's environment is not disclosed
    "configure_job_log": ("none", "none", "none", "none"),
    "configure_site_log": ("none", "none", "none", "none"),
    "report_env": ("none", "none", "none", "none"),
    # a site's error texts would bypass its gates
    "show_errors": ("none", "none", "none", "none"),
    "call": ("none", "none", "none", "none"),
    "byoc": ("none", "none", "none", "none"),
    # the server has its own log only: sites' logs never reach it (streaming is off)
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
"""Content of a site's ``local/privacy.json``. A job chooses its scope by name: with one scope it has no laxer choice.
FLARE applies a scope's filters to every task, before the job's filters."""
