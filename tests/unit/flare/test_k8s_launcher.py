"""A job may not say which pod it runs in: an image is code, and no code travels."""

from __future__ import annotations

from typing import Any

import pytest

from fedward.errors import PolicyError
from fedward.flare.k8s_launcher import SitePods, refuse_own_pod

IMAGE = {"k8s": {"image": "evil:1"}}


class Context:
    """As much of FLARE's context as the launcher asks before it refuses."""

    def get_identity_name(self) -> str:
        return "north-clinic"


@pytest.mark.parametrize(
    "meta",
    [
        {"launcher_spec": {"north-clinic": IMAGE}},
        {"launcher_spec": {"default": IMAGE}},
        {"launcher_spec": {"default": {"k8s": {"python_path": "/tmp/python"}}}},
        {"launcher_spec": {"city-hospital": IMAGE}},
        {"resource_spec": {"north-clinic": IMAGE}},
        {"resource_spec": {"north-clinic": {"k8s": {"memory": "1Ti"}}}},
    ],
)
def test_pod_of_the_jobs_own_is_refused(meta: dict[str, Any]) -> None:
    with pytest.raises(PolicyError, match="job says which pod it runs in"):
        SitePods(namespace="fedward", config_file_path=None).launch_job({"job_id": "1", **meta}, Context())


@pytest.mark.parametrize(
    "meta", [{}, {"resource_spec": {}}, {"resource_spec": {"north-clinic": {"num_of_gpus": 1}}}, {"launcher_spec": {}}]
)
def test_job_that_says_nothing_of_pods_may_run(meta: dict[str, Any]) -> None:
    refuse_own_pod(meta, site="north-clinic")
