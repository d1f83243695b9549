"""A small S3 client of the standard library: it loads in no time and hides nothing of the wire.

The commands of the stack replay exact requests and compare what was sent with what a store says
that it saw, which an SDK does not show. ``signing`` is the arithmetic, ``transport`` the HTTP,
``client`` the operations.
"""
