"""What can be wrong between Langfuse, browsers and the store, each told apart by a real request.

``checks.CHECKS`` is the list; other packages add theirs through the entry point
``oversight.checks``. ``examination.examine`` runs them; nothing here prints.
"""
