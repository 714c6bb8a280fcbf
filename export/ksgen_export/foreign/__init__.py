"""Scripts that run in the environments of other libraries and import nothing of KSGen-Agent.

They have a folder of their own, as a script's folder comes onto the path: beside them `lerobot` and `minari` would mean
the modules of this package.
"""
