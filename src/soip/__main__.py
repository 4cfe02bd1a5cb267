"""`python -m soip`: the command line."""

from soip.lifeline import tie_to_parent

tie_to_parent()  # Before the imports: they take longer than a supervisor may live.

from soip.cli import main  # noqa: E402

main()
