"""``ksgen-agent bench``: speed, each figure a ratio in one run against a limit and against what a user would pick.

==============  =====================================================================================================
`figures`       what is measured: ratios, curves, tables, the machine; and how they lie in JSON
`facts`         what the machine is
`rounds`        taking turns, so that what else the machine does weighs on both sides of a ratio
`forwards`      times the forward calls of an agent's networks, and makes them again without the agent
`spans`         sets of spans of time: union, overlap, what is left
`profile`       where the wall time of an imagination goes
`imagine`       an imagination against its networks' forward calls alone; growth with steps, size, candidates
`track`         the hand tracker against one `HandLandmarker.detect` a frame; growth with frames and size
`serve`         the server against bare sockets and other kinds of servers; growth with clients
`export`        the LeRobot writer against encoding alone and against lerobot; growth with episodes
`run`           all of them
`guard`         compares two runs and names what became worse beyond noise
`plots`         curves as SVG; `page` writes the generated part of docs/benchmarks.md; `show` prints a part
==============  =====================================================================================================
"""
