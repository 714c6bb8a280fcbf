"""The ``ksgen-agent`` command line."""
