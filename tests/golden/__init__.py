"""One small drive per format version, as a release of that time wrote it.

Every release must read them all (docs/format.md). ``python -m tests.golden FILE`` writes the drive
of today's version; a file is never written again once its version was released.
"""
