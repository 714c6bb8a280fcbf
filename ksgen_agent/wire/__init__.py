"""The wire: msgpack headers and raw binary bodies, described for other languages in ``docs/protocol.md``."""
