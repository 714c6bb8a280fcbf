"""Training of the mini models from demonstrations on disk; needs no simulator."""
