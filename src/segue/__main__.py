"""``python -m segue``: the command, also for a launcher such as torchrun."""

from segue.cli.main import main

main()
