"""The ranks of a job: launchers, rendezvous, process group, cores, heartbeats."""
