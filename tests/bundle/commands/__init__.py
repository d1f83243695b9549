"""The commands that set up, examine, prove and move a stack, on running stores."""
