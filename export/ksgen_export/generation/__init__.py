"""Generation of data sets: tasks × scenes × seeds, or photos × tasks, to episodes in a format that trainers read.

    from ksgen_export.generation.items import scene_items
    from ksgen_export.generation.job import generate
    from ksgen_export.generation.options import GenerationOptions

    items = scene_items(("KSGen/StackBlocks-v0",), range(100), range(4))
    summary = generate("data/stacking", items, GenerationOptions(least_scores={"trust": 0.5}))

A job may be stopped at any moment, also by ``kill -9``, and goes on when it is called again; docs/generation.md tells
what lies where.
"""
