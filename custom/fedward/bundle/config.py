"""Write a job as the configuration of a MONAI bundle: ``metadata.json`` and ``inference.json``.

After the bundle specification of MONAI (docs.monai.io, "MONAI Bundle Specification"). Whatever is no class of MONAI's
is in the package ``SCRIPTS`` in the bundle, copies of Fedward's own files that need numpy and torch alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from fedward.settings import JobSpec

Config = dict[str, Any]
SCRIPTS = "fedward_scripts"


def metadata(job: JobSpec, *, intended_use: str, facts: Mapping[str, str]) -> Config:
    """Return ``metadata.json``.

    Args:
        job: the job.
        intended_use: use that the consortium intends.
        facts: name -> hash or other fact of the model, for its readers.
    """
    outputs = job.output_names
    channels, patches = job.data.channels, job.data.patches is not None
    image = {
        "type": "image",
        "format": "magnitude",
        "num_channels": len(channels),
        "spatial_shape": list(job.data.size),
        "dtype": "float32",
        "value_range": [],
        "is_patch_data": patches,
        "channel_def": {str(number): name for number, name in enumerate(channels)},
    }
    masks = job.job.task == "segmentation"
    found = {
        "type": "image" if masks else "probabilities",
        "format": "segmentation" if masks else "classification",
        "num_channels": len(outputs),
        "spatial_shape": list(job.data.size) if masks else [],
        "dtype": "float32",
        "value_range": [0, 1],
        "is_patch_data": patches,
        "channel_def": {str(number): name for number, name in enumerate(outputs)},
    }
    return {
        "version": "1.0.0",
        "changelog": {"1.0.0": "as trained"},
        "monai_version": version("monai"),
        "pytorch_version": version("torch").partition("+")[0],
        "numpy_version": version("numpy"),
        "required_packages_version": {},
        "name": job.job.name,
        "task": f"{job.job.task}: {', '.join(outputs)}",
        "description": job.job.description,
        "intended_use": intended_use,
        "authors": "the hospitals of the federation that trained it",
        "copyright": "",
        "facts": dict(facts),
        "network_data_format": {"inputs": {"image": image}, "outputs": {"pred": found}},
    }


def inference(job: JobSpec, network_args: Mapping[str, Any], *, group_norm: bool) -> Config:
    """Return ``inference.json``: network as built, its weights, and what is done before and after it.

    Args:
        job: the job.
        network_args: all arguments of its MONAI class.
        group_norm: True if its BatchNorm layers are replaced after it is built.
    """
    data = job.data
    fit = {"size": list(data.size), "crop_border": data.crop_border, "keep_shape": data.keep_shape}
    if (patches := data.patches) is not None:
        fit |= {"patches": True, "spacing_mm": None if data.spacing_mm is None else list(data.spacing_mm)}
    windows = {} if patches is None else {"roi_size": list(data.size), "overlap": patches.overlap, "mode": "gaussian"}
    last = {"clip_percentiles": list(data.clip_percentiles), "apart": bool(data.sequences)}
    before = [{"_target_": one.name, "keys": "image", **one.args} for one in job.transforms.prepare]
    multiclass = job.job.task == "segmentation" or data.target == "multiclass"
    activation = "softmax(dim=1)" if multiclass else "sigmoid()"
    return {
        "bundle_root": ".",
        "network_def": {"_target_": job.model.network, **network_args},
        "built": {"_target_": f"{SCRIPTS}.with_group_norm", "network": "@network_def"}
        if group_norm
        else "@network_def",
        "weights": "$torch.load(@bundle_root + '/models/model.pt', map_location='cpu', weights_only=True)",
        "network": "$(@built.load_state_dict(@weights), @built.eval())[1]",
        "preprocessing": {
            "_target_": "Compose",
            "transforms": [
                {"_target_": f"{SCRIPTS}.Fit", **fit},
                *before,
                {"_target_": f"{SCRIPTS}.Standardise", **last},
            ],
        },
        "inferer": {"_target_": "SlidingWindowInferer" if windows else "SimpleInferer", **windows},
        "probabilities": f"$lambda logits: (logits[0] if isinstance(logits, tuple) else logits).{activation}",
        "outputs": list(job.output_names),
    }
