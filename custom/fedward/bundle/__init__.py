"""Take models in and out: a bundle of a job's model and its predictions; a job's start, and the job after it.

Reading order: ``config`` (the bundle's two files of JSON), ``export`` (the folder, held to the job's own network),
``predict`` (files in, probabilities or masks out); ``checkpoint`` (a model that was trained elsewhere, as a start),
``continued`` (the job that goes on from a finished one).
"""
