"""Makes a store fit for the stacks: buckets, prefixes, CORS, users and keys. Repeatable.

``wanted`` says what there should be, from the settings; ``making`` brings it about, through S3 and
the control API only, and tells what it made, what it found and what differs.
"""
