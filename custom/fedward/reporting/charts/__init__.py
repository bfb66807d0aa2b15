"""Charts as SVG text, without scripts or outside requests.

Reading order: ``svg``, then one file a chart.
"""
