"""Offer Fedward in Python and in notebooks: read and change a job, simulate it, read a report, use a model.

::

    from fedward import Job, load_model, load_report, simulate

    job = Job.read("jobs/cxr_classification").with_(federation={"rounds": 3})
    done = simulate(job)                       # the demo's synthetic hospitals, in this process, without FLARE
    done.scores["coast-institute"].auc
    model = load_model(done)                   # a torch module; also of a job's result, or of a bundle
    model.predict(["image.dcm"])
    load_report("build/demo/report.json").worst

These names are all that is public; everything else may change. Importing them loads neither torch nor MONAI.
"""

from fedward.api.job import Job
from fedward.api.loading import load_model, load_report
from fedward.api.simulation import Simulation, simulate

__all__ = ["Job", "Simulation", "load_model", "load_report", "simulate"]
