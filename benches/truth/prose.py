"""What stands around the figures in docs/benchmarks.md. It claims nothing that the tables don't show."""

SECTION = """## What load tools say, and what was true

{caveat}By `make bench-truth`. Each tool by itself, pinned to one core, against the fault server of `tests/truth` on the other, over loopback. The
server works for {work} on each answer, breaks by a script, and logs every arrival and departure with the monotonic clock: what was true is
known, by calculation and by that log. It runs at real-time priority where that is allowed, so that its stamps are in time; Squall's probe
thread asks for the same, as in every run of it. The files are in `benches/truth/`; [what it means](measuring.md) is explained apart.

| tool | how it sends |
| --- | --- |
| Squall | {rate}/s by plan, whatever became of the requests before; kept-alive stream, timeout {timeout} s |
| wrk | a closed loop: each of its {closed} connections sends when the last answer is there. It can't be told a rate; {closed} × {work} comes to {rate}/s while nothing is wrong |
| hey | {connections} workers, {rate}/s in all; one that waits for an answer lets its turns pass |
| fortio | {connections} threads, {rate}/s in all; one that waited sends what it missed at once afterwards, and times it from then. `-uniform`, buckets of 0.1 ms |
| oha | {connections} connections, {rate}/s in all; timed from when a connection is free |
| oha, corrected | `--latency-correction`: timed from when it was due; {many} connections, so that none is waited for |

"Failed" as a time: the rank falls on a request that was not answered. A † marks a bout with other work on the machine: more than
{foreign} cores beside tool and server, or more than {stolen} of the time taken by the host.

### Quiet

{quiet_length} s in which nothing is wrong.

{quiet}

### Frozen for one second

{length} s. For one second in the middle requests are taken and not answered; then all are.

{freeze}

### Killed for one second

{length} s. For one second in the middle connections are reset and refused. "Not answered" by the server are those that it was working on.

{kill}

When it was: Squall says so (below). wrk, hey and oha keep no instant of a failure; fortio writes the start of every call with
`-access-log-file`.

### Every second request on a connection dropped

{short} s, no work. The server closes each connection when the second request on it has arrived, without an answer: what a client with kept-alive
connections meets when pods are replaced. A tool that sends again behind its user's back has more requests at the server than it
admits, and fewer failures than the server has requests without an answer.

{drop}

### Every second new connection reset

{short} s, no work. A connection that was accepted stays good. Who holds on to good connections does not see what new users see.

{connect}

### The tool itself stopped for one second

{stall_length} s. Nothing is wrong with the server. The tool is stopped (SIGSTOP), as a host that is short of processors does it.

{stall}

### Squall against the server's stamps

Sample by sample: {precise_rate}/s on each of two streams at once, {precise_length} s, the server works for {precise_work}; median (least to most) of {precise_runs}
bouts as the machine is, and of {awake_runs} with both cores kept from halting ("awake") by work that gives way to everything else.
The server's service time runs from when it has read the request (fresh: from when it has accepted the connection) until just before
it writes the answer. Ours runs from just before the send (fresh: before the connect) until the answer is read. So the difference
holds the way there and back through the kernel, and the waking of both sides, and is never below 0: it bounds our error from above. The way
there is the server's waking; the way back is ours. A virtual core that halts takes its time to wake up, which the awake bouts leave
out. Aims are for the median.

{precise}

Outages and quantiles at {rate}/s, {repeats} bouts: in a freeze one stream at a time, in a kill both. An answer after {slow} counts as bad where the freeze is
dated. The server's edges: in a freeze its first arrival that it kept for longer than that, and the first after the last such; in
a kill its own work before the begin of the window (what is under way dies with it), and the end of the window. Instants are planned
ones, one in each slot of {rate}/s. When a freeze ends the server has a second's answers to write at once: what that takes is in its
departures, and not in the calculation. Aims are for the worst.

{dated}

### Where truth was measured

{place}
"""
