"""Moves the objects of one S3 store to another, again and again until both are the same.

``comparison`` finds what differs by the listings of both, ``copying`` moves one object with all
that belongs to it, ``journey`` runs both in parallel, ``memory`` keeps the little that listings do
not tell. Nothing is ever changed in the source.
"""
