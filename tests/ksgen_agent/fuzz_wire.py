"""Coverage-guided fuzzing of everything that reads bytes off the network; see ``test_fuzz.py``.

::

    python tests/ksgen_agent/fuzz_wire.py -runs=1000000 [corpus folder]

Whatever arrives is a message, or a `KSGenError`; anything else is a crash, which the fuzzer saves as a file.
"""

from __future__ import annotations

import sys

import atheris

with atheris.instrument_imports(include=["ksgen_agent.wire"]):
    from ksgen_agent.wire import codec, failures
    from ksgen_agent.wire import messages as wire
    from ksgen_agent.wire.blobs import view_array
    from ksgen_agent.wire.key_steps import unpack_key_step, unpack_plan

from ksgen_models.errors import KSGenError


def read_message(data: bytes) -> None:
    """Take the bytes for the frames of a message, as both sides would."""
    provider = atheris.FuzzedDataProvider(data)
    known = wire.FROM_CLIENT if provider.ConsumeBool() else wire.FROM_SERVER
    frames = [provider.ConsumeBytes(provider.ConsumeIntInRange(0, 4096))]
    if provider.ConsumeBool():
        frames.append(provider.ConsumeBytes(sys.maxsize))
    try:
        header, body = codec.split(frames)
        codec.peek_id(header)
        message = codec.decode(header, known)
        codec.decode(codec.encode(message), known)
        if isinstance(message, wire.Submit):
            view_array(message.frame, body)
        elif isinstance(message, wire.Step):
            unpack_key_step(message, body)
        elif isinstance(message, wire.Done):
            unpack_plan(message)
        elif isinstance(message, wire.Error):
            failures.to_exception(message)
    except KSGenError:
        return


if __name__ == "__main__":
    atheris.Setup(sys.argv, read_message)
    atheris.Fuzz()
