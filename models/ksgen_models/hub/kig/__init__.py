"""Full-size key-step image generators: the Skill Transformer on SDXL and Kolors, and instruction-editing pipelines.

`loading.load_image_generator` makes one from a checkpoint of any family in `families`; `adapter.SkillAdapter` is the
part that is trained, `telling` what it is told in training and drawing alike. Nothing is imported here.
"""
