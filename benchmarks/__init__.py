"""Measurements of the store beside its peers and beside the floor (``docs/benchmarks.md``).

Run with ``python -m benchmarks``. Everything here runs outside the store's processes and speaks
nothing but S3 with it.
"""
