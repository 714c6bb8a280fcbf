"""Datasets in LeRobot's format v3.0: `ksgen_export.lerobot.writer` and `ksgen_export.lerobot.reader`."""
