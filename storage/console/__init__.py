"""The web console: pages, and a server for them that acts with the signed-in user's own rights.

It holds no power of its own: everything goes through the S3 and the control API. It runs in a
process of its own (``process``), and nothing else imports it. docs/console.md explains it.
"""
