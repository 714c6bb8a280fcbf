"""``ksgen-agent bench serve``: the subgoal server measured on this machine, each figure next to what it must reach.

==============  =====================================================================================================
`throughput`    1 MB subgoals a second, next to bare pyzmq sockets that move the same bytes
`latency`       what a small request takes, next to an echo; what a slow job does to others
`together`      real imaginations, several at a time in one worker
`crowd`         32 clients, next to a blocking and a websocket server (`baselines`); a thousand clients at once
`chaos`         jobs while workers and servers are killed
`hostile`       broken messages, beside an honest client; wrong, revoked and missing keys
`soak`          mixed load for a long time
`table`         all of them, as rows
`imaginer`      the fake imaginer that the workers run; `processes` for servers and clients in processes of their own
==============  =====================================================================================================

Servers are started by ``ksgen-agent serve`` and clients are the public ones, each in processes of their own.
"""
