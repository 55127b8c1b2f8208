"""`make bench` and `make bench-peers`: the speed of Quarterhour beside loops and other stream processors.

All contenders run in one run on one machine. Each is a process of its own that reads the same events from a
real Kafka. Its timed run ends when the last event is where the contender puts it: in PostgreSQL, but for the
Python loops, which keep nothing. The contenders take turns, each round begins with another one, and every run
has a new consumer group and a new database. Figures are medians over the rounds, with minimum and maximum.

A run is measured from outside and alike for all: at the first record and at the end the process's user and
system time (all threads) and its peak resident memory (VmHWM) are read from /proc. What was before the first
record is start-up and stands apart; what comes after the end does not count.

| contender | first record | end |
|---|---|---|
| a peer | it prints a line at its first records | it prints a line after its last commit |
| Quarterhour | its claim stands in the ledger, before any fetch | the ledger is at the ends of all topics |

Quarterhour's two moments are seen by asking PostgreSQL every 20 ms. It runs with shipped defaults and is then
checked: after each run every session record and every outcome count in its ledger is compared with the
reference model's, and a difference fails the bench. Peers do a simpler job, under which duplicates count, and
are compared with what is true of that (peers/README.md).

Then each contender that keeps anything is run once more, killed with SIGKILL after two fifths of the time
that its timed runs took, started again, and compared in the same way.
"""
