"""The report of an imagination: one self-contained HTML page."""
