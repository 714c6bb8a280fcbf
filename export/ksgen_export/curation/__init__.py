"""Curation of real instructional video: annotation files and a folder of videos to a manifest that training reads.

Step segments are cut at scene changes; what is still, shaky, blurred, covered by text or without hands is dropped, with
the reason for every rejection; the rest becomes 16-frame subclips with hand tracks and pseudo regions of motion.

    from ksgen_export.curation.job import curate
    from ksgen_export.curation.readers import read_annotations
    from ksgen_export.curation.manifest import read_subclips

    summary = curate("videos", "curated", read_annotations("coin", ["COIN.json"]))
    for subclip in read_subclips("curated"):
        ...
"""
