"""The web console, driven by a real browser against a real store."""
