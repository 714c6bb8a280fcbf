"""Datasets on disk: writing, reading and exporting what KSGen-Agent imagines."""
