"""``python -m stack.mc``."""

from stack.mc import main

main()
