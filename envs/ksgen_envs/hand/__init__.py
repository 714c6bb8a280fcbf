"""An articulated human hand: skeleton, skin, postures, and the hand in a MuJoCo model.

Import from the modules: `skeleton` and `pinch` need numpy (and scipy when they solve), `model` needs mujoco.
"""
