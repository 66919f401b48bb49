"""`python -m tinsmith.cli` is `tinsmith`."""

from tinsmith.cli.main import main

main()
