"""What Langfuse keeps in a bucket, understood: keys, bodies, and an index of both.

``keys`` and ``bodies`` are pure; ``index`` is a file that can be thrown away. Nothing here knows
the engine or HTTP: ``storage.services.langfuse_index`` feeds the index, the control API asks it.
"""
