"""NATS, PostgreSQL and Valkey from their wheels, each in one directory, for one machine."""
