"""The small `mc` against a running store."""
