"""Consumers of the change feed and timers: what works through a store in the background."""
