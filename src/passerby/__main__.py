"""`python -m passerby` is the command line."""

from passerby.cli import main

main()
