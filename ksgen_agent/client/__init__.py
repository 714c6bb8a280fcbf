"""The client: the same `ksgen_agent.Imaginer` as the local agent, over ZeroMQ.

`exchange` is the protocol core: state machines that never touch a socket. `client` and `async_client` drive them, and
differ only in how they wait.
"""
