"""Training of full-size models on the user's own clips: region of motion, video, key-step images, step library.

`runs` starts a run, `loop` is the one trainer of all kinds, `backbones` the table of video networks, `manifest` reads
what `ksgen-agent curate` wrote. Sources: IVG §3 (the two stages and their losses), KS-Gen (the Skill Transformer).
"""
