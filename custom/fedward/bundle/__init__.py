"""Take a finished job's model to where it is used: a MONAI bundle that needs Fedward no more, and predictions from it.

Reading order: ``config`` (the bundle's two files of JSON), ``export`` (the folder, held to the job's own network),
``sources`` (the images in files), ``predict`` (images in, probabilities or masks out), ``masks``, ``dicom_seg``,
``dicom_sr`` (results as files), ``origin`` (which model they say made them).
"""
