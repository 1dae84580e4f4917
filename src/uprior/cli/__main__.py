"""``python -m uprior.cli`` is the program ``uprior``."""

from uprior.cli import main

main()
