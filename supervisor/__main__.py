"""`python -m supervisor` is `psup`."""

from supervisor.cli.main import main

main()
