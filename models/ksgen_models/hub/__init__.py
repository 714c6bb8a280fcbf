"""Models from the hub: video backends, key-step image generators, their checkpoints and run settings.

Nothing is loaded at import. `settings` is the one vocabulary of dtype, offload and speed for every pipeline,
`checkpoints` finds and checks weights on this machine, `families` is the table of video families, `video` the one
adapter that runs them.
"""
