"""The door: the `edgekiln` command, a noun per file. The only room that knows click.

Every import of another room is inside the function that needs it, so that `--help` stays quick.
"""
