"""Faults on real servers: kill, stop, wipe; then heal, drain and check the invariants."""
