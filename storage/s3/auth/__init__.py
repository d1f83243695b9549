"""Who sent this request, and is it what they signed? (AWS Signature Version 4)

``authenticate(call, keyring, region)`` needs four things of a call: ``method`` (str), ``raw_path``
and ``raw_query`` (bytes as they stood in the request line) and ``headers``, a dict of lower-case
``bytes`` names to ``bytes`` values, repeated headers joined by ``,`` in their order.
"""
