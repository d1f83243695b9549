"""Moves what one S3 store holds to another, again and again until both are the same.

``comparison`` finds what differs by the listings of both, ``versions`` does so for whole histories,
``copying`` moves one object with all that belongs to it, ``journey`` runs all of it in parallel.
``settings`` carries the settings of buckets, ``people`` the policies and users of a MinIO that
``admin`` reads. ``memory`` keeps the little that listings do not tell. Nothing is ever changed in
the source.
"""
