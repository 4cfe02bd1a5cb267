"""Measurements: CPU per packet of our data plane against the floors, small C programs that do the same I/O.

Rules:

1. A ratio counts, not a time: ours and the floor run in turn (A, B, A, B, …) on the same processor, several rounds,
   and the medians are compared. The other side of the wire is a process of its own on another processor.
2. Only the measured process is counted (getrusage), from its first packet to its last.
3. The parts measured are the product's: sockets, receiver, intake, fragment writer, relay, sender.
4. A missed mark is printed; only what keeps a benchmark from running makes the exit code nonzero.
"""
