"""The subgoal server: takes jobs over ZeroMQ, has worker processes imagine them, keeps what is finished on disk.

=================  ==========================================================================================
`loop.Server`      the sockets and the one loop that owns everything below; no generation happens in it
`desk.Desk`        what every message of a client means
`jobs`             a job, and the queue in which clients take turns
`delivery`         who is being sent which job, from which key step on; `outgoing` for what is on its way
`store.Store`      SQLite and files: what was accepted and what is finished survives ``kill -9``
`pool`, `worker`   the processes that imagine, their start, death and replacement
`auth`, `keys`     CURVE, the allow-list, revocation; `refusals` for who does not get that far
`health`           ``/healthz`` and, from `metrics`, ``/metrics`` over HTTP; nothing of it unless asked for
`logs`             the log, for people or as JSON
=================  ==========================================================================================
"""
