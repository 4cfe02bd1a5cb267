"""The commands of `soip`, one file for each group; `soip.cli` puts them together.

Rules of this room:

1. A command parses, calls one room, and prints. It decides nothing another room should decide.
2. What a command needs of a room is imported inside it, so that `soip --help` does not load the product.
3. Output for programs is JSON on standard output; messages for people about a failure go to standard error,
in one
   line that says what to do. Exit code 2: the command was called wrongly; 1: it could not be done.

It may import every room; only `soip.cli` imports it.
"""
