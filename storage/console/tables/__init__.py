"""Parquet files as tables: read in a process that can do nothing else.

What was stored may come from anybody, and a reader of Parquet is a large program in C++. So the
console (``serve``) starts a child (``reader``) for each preview, which opens its library, takes
limits on memory and CPU time, gives up every system call but reading, writing and memory
(``sealing``), and only then asks for the first bytes of the object, over one socket (``ranges``).
It knows no credential, opens no file and reaches no network. docs/decisions/0032-tables.md tells
why.
"""
