"""Drills: real faults on real parts while known traffic flows; then every record is compared.

A drill starts workers under a supervisor, lets traffic flow (`load`), strikes again and again
(`Arena.fault`), and ends with a verdict (`verdict`): each session record, dead letter and outcome counter
against what the reference model says of the log that Kafka holds. A fault counts only if it bit: when it
struck there was an open transaction or unsaved offsets, or another worker took over because of it, or what
its drill was after was seen: an answer cut off, a worker that says what it waits for, positions moved back.
Recovery is timed from the begin of a strike: a server's time down is in it.

| module | does |
|---|---|
| `load`, `flow` | endless traffic with duplicates, disorder, late and bad events, published at a rate |
| `supervisor` | workers that are started again when they end, and handles to kill, freeze and thaw them |
| `watch` | positions, owners, open transactions, Kafka's ends |
| `arena` | all of that around one drill; measures bite and recovery |
| `verdict` | the log read back, the reference's answer, what differs |
| `drill` | a drill's name and its row in the table |
| `catalogue` | the list of all drills |
| `points`, `trap` | named points of a checkpoint, and holding a worker at one; whose checkpoints commit |
| `holdups` | how long workers wait for one another's locks |
| `link` | a bad network between a worker and a server |
| `soak`, `soak_faults`, `soak_report` | `python -m tests.drills.soak`: an hour with a fault a minute |
| `live` | a live stream, published by a process of its own |
| `slices` | the verdict on more than fits into memory |
| `vitals` | a process's memory, descriptors and connections, and whether they drift |
| the others | the drills themselves, by what they break |
"""
