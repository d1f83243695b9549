"""How the store's processes are started, watched, drained and shown."""
