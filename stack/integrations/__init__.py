"""What other systems learn about the store's objects. One package per system, each an extra."""
