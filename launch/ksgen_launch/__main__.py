"""``python -m ksgen_launch``: the same as ``ksgen-agent``."""

from ksgen_launch.main import main

if __name__ == "__main__":
    main()
