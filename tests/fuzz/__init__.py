"""Random requests against the S3 plane: ``python -m tests.fuzz --help``.

An input is one connection: some bytes, cut into pieces as a network might cut them. Most are
requests of S3 that are right but for something: each can be made again from a seed and a number.
"""
