"""The control plane: administration and plain HTTP access, on the console port."""
