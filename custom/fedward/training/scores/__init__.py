"""Score a model on a site's images: ``scoring`` (predictions and masks), ``details`` (the tables that go with scores),
``example_outlines`` (three images with their masks, for the site only).
"""
