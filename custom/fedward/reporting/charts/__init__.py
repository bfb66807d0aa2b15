"""Charts as SVG text, without scripts or outside requests."""
