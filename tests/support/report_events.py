"""Events of a plausible job as a server writes them: five hospitals, one served worse, one that missed rounds."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from fedward.settings import JobSpec, parse
from tests.conftest import tiny_job_content

START = 1_795_800_000.0
ROUNDS = 8
SITES = {
    "alder-hospital": 0.91,
    "birch-clinic": 0.88,
    "coast-institute": 0.87,
    "dune-university-hospital": 0.9,
    "elm": 0.71,
}
"""Site -> its AUC at the end."""
AWAY = {"birch-clinic": (3, 4)}
_PATIENTS = {
    "alder-hospital": 812,
    "birch-clinic": 455,
    "coast-institute": 390,
    "dune-university-hospital": 1204,
    "elm": 168,
}
_CHARGED = {"mechanism": "dp-sgd", "epsilon": 5.31, "delta": 2e-4, "spent": 6.02, "epsilon_cap": 8.0, "steps": 640}
_CHARGED |= {"noise_multiplier": 0.83, "sampling_rate": 0.041}


def made_job(**changes: Any) -> JobSpec:
    content = tiny_job_content()
    content["job"] |= {"name": "cxr_lesions", "description": "Lesions on chest radiographs of five hospitals"}
    content["federation"] |= {"rounds": ROUNDS, "min_sites": 3, "must_include": ["alder-hospital"], "min_patients": 500}
    private = {"epsilon": 8.0, "delta": 2e-4, "clip_norm_l2": 1.0, "patients_per_step": 8}
    content["privacy"] = {"mechanism": "dp-sgd", "dp_sgd": private}
    content["acceptance"] = {"threshold": 0.8}
    return parse(JobSpec, content | changes, where="made")


def made_events(job: JobSpec, *, failed: str | None = None) -> list[dict[str, Any]]:
    """The events in order, one second apart within a round."""
    asked = {"min_sites": 3, "must_include": ["alder-hospital"], "min_patients": 500}
    lines: list[dict[str, Any]] = [
        {"event": "started", "job": job.job.name, "task": "classification", "rounds": ROUNDS}
        | {"sites": sorted([*SITES, "fen-clinic"]), "coverage": asked, "threshold": 0.8}
    ]
    lines += [_admitted(site, number) for number, site in enumerate(SITES)]
    lines.append({"event": "declined", "site": "fen-clinic", "reason": "the cohort has no column lesion"})
    lines.append({"event": "encrypted", "scheme": "aes-ctr", "precision": "compact", "key": "1f3a" + "0" * 28})
    for number in range(ROUNDS - (failed is not None)):
        lines += _round(number)
    if failed is not None:
        *answered, _ = _round(ROUNDS - 1)
        lines += [one for one in answered if one["site"] != "alder-hospital"]
        lines.append({"event": "dropped", "site": "alder-hospital", "round": ROUNDS - 1, "reason": "no answer in time"})
        lines.append({"event": "uncovered", "round": ROUNDS - 1, "reason": failed})
        lines.append({"event": "failed", "reason": failed})
        return _dated(lines)
    lines += [_final(site, auc) for site, auc in SITES.items()]
    lines.append({"event": "pooled", "sites": sorted(SITES), "pooled": _pooled()})
    lines.append(
        {"event": "suspect", "site": "coast-institute", "round": 5, "reason": "a hundredth as long as the others'"}
    )
    lines.append({"event": "finished", "rounds": ROUNDS})
    return _dated(lines)


def _dated(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"at": START + 3.0 * place, **one} for place, one in enumerate(lines)]


def _admitted(site: str, number: int) -> dict[str, Any]:
    patients = _PATIENTS[site]
    support = {"train_patients": patients, "train_images": patients + 90, "left_out": 12}
    support |= {"validation_patients": patients // 4, "validation_images": patients // 4 + 20}
    support |= {"train_positives": {"lesion": patients // 3}, "validation_positives": {"lesion": patients // 12}}
    facts = {"quarantined": 7 + number, "cohort_hash": f"{number + 10:x}" * 64, "fedward": "0.1.0", "privacy": _CHARGED}
    words = ("approved", "approved", "submitter", "approved", "any")
    return {"event": "admitted", "site": site, "support": support, "admission": words[number], **facts}


def _scores(auc: float, patients: int) -> dict[str, Any]:
    half = 0.9 / math.sqrt(patients)
    return {
        "auc": round(auc, 4),
        "auc_low": round(auc - half, 4),
        "auc_high": round(min(auc + half, 1.0), 4),
        "average_precision": round(auc - 0.1, 4),
        "sensitivity": round(auc - 0.3, 4),
        "sensitivity_low": round(auc - 0.42, 4),
        "sensitivity_high": round(auc - 0.19, 4),
        "specificity": 0.944,
        "specificity_low": 0.91,
        "specificity_high": 0.97,
        "ece": round(0.9 - auc * 0.93, 4),
        "images": patients + 20,
        "positives": patients // 3,
        "patients": patients,
        "loss": round(1 - auc, 4),
        "suppressed": False,
    }


def _round(number: int) -> list[dict[str, Any]]:
    lines, parts = [], {}
    for site, auc in SITES.items():
        facts = {"seconds": 21.5 + len(site) / 3, "sent_bytes": 9_633_108, "received_bytes": 4_816_220}
        if number in AWAY.get(site, ()):
            reason = "no answer in time"
            lines.append({"event": "dropped", "site": site, "round": number, "reason": reason})
            parts[site] = {"outcome": "dropped", "reason": reason, "trained": False, "patients": None}
            parts[site] |= dict.fromkeys(("seconds", "sent_bytes", "received_bytes"))
            continue
        now = 0.5 + (auc - 0.5) * (1 - math.exp(-number / 2.2)) + 0.012 * math.sin(3 * number + len(site))
        metrics = {"scores": _scores(now, _PATIENTS[site] // 4), "patients": _PATIENTS[site], "steps": 80}
        metrics |= {"train_s": 12.25 + len(site) / 4, "validate_s": 3.5, "seal_s": 0.4}
        answer = {"event": "answered", "site": site, "task": "round", "round": number, "metrics": metrics}
        lines.append(answer | facts)
        parts[site] = {"outcome": "accepted", "reason": None, "trained": True, "patients": _PATIENTS[site], **facts}
    counted = [site for site, one in parts.items() if one["outcome"] == "accepted"]
    whole = {
        "event": "round",
        "round": number,
        "sites": counted,
        "wall_s": 29.5,
        "stages": {"wait_s": 28.0, "add_s": 0.4},
    }
    lines.append(whole | {"patients": sum(_PATIENTS[site] for site in counted), "participation": parts})
    return lines


def _final(site: str, auc: float) -> dict[str, Any]:
    patients = _PATIENTS[site] // 4
    metrics = {"scores": _scores(auc, patients), "validate_s": 3.5, "privacy": _CHARGED}
    metrics |= {"subgroups": {"lesion": _parts(site, auc, patients)}, "curves": {"lesion": _curves(auc, patients)}}
    metrics["profile"] = _profile(site, patients)
    return {"event": "answered", "site": site, "task": "final", "round": -1, "metrics": metrics, "seconds": 4.0}


def _part(auc: float, patients: int) -> dict[str, Any]:
    return {name: value for name, value in _scores(auc, patients).items() if name.startswith(("auc", "i", "p"))}


def _parts(site: str, auc: float, patients: int) -> dict[str, Any]:
    hidden = {"auc": None, "auc_low": None, "auc_high": None, "positives": None, "patients": None}
    shift = 0.02 + (len(site) % 5) / 100
    return {
        "sex": {"F": _part(auc - shift, patients // 2), "M": _part(auc + 0.02, patients // 2)},
        "age": {
            "20-39": hidden | {"suppressed": True},
            "40-59": _part(auc + 0.03, patients // 3),
            "60-79": _part(auc - 2 * shift, patients // 3),
            "80 and above": hidden | {"suppressed": True},
        },
        "maker": {"siemens": _part(auc, patients // 2), "philips": _part(auc - shift / 2, patients // 3)},
    }


def _curves(auc: float, patients: int) -> dict[str, Any]:
    bend = auc / (1 - auc)
    roc = {f"{step / 20:.2f}": round((step / 20) ** (1 / bend), 3) for step in range(21)}
    bins = {
        f"{low / 10:.1f}": {
            "patients": (counted := max(4, patients // (low + 2))),
            "positives": round(counted * min(1.0, (low / 10 + 0.05) ** (1.2 if auc > 0.8 else 0.6))),
            "score": low / 10 + 0.048,
        }
        for low in range(10)
        if low != 7
    }
    return {
        "roc": roc,
        "reliability": bins | {"0.7": {"patients": None, "positives": None, "score": None}},
    }


def _pooled() -> dict[str, Any]:
    return {"auc": 0.872, "auc_low": 0.851, "auc_high": 0.893, "images": 857, "positives": 252, "patients": 757} | {
        "curves": {"lesion": _curves(0.872, 757)}
    }


def _profile(site: str, patients: int) -> Mapping[str, Any]:
    odd = site == "elm"
    shares = {f"{low / 4:+.2f}": 0.0 for low in range(-16, 16)}
    for name in shares:
        shares[name] = round(0.1 * math.exp(-((float(name) - (0.6 if odd else 0.0)) ** 2) / 2), 3)
    return {
        "patients": patients,
        "images": patients + 20,
        "positives": {"lesion": patients // (9 if odd else 3)},
        "sex": {"F": patients // 2, "M": patients // 2},
        "age": {"40-49": patients // 3, "50-59": patients // 3, "70-79": patients // 3},
        "maker": {"fujifilm" if odd else "siemens": patients},
        "intensity": shares,
        "spacing_mm": 0.2 if odd else 0.14,
        "label_noise": 0.19 if odd else 0.03,
    }
