"""`python -m feedback_guard` is the command `feedback-guard`."""

from feedback_guard.cli.main import main

main()
