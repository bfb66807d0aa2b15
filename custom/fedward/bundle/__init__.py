"""Take models in and out: a bundle of a job's model and its predictions; a job's start, and the job after it.

Reading order: ``config`` (the bundle's two files of JSON), ``export`` (the folder, held to the job's own network),
``sources`` (the images in files), ``predict`` (images in, probabilities or masks out), ``masks``, ``dicom_seg``,
``dicom_sr`` (results as files), ``origin`` (which model they say made them); ``checkpoint`` (a model that was trained
elsewhere, as a start), ``continued`` (the job that goes on from a finished one).
"""
