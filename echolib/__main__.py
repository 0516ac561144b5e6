"""``python -m echolib``: the command ``echolib``, whatever the path."""

from echolib.cli import main

main()
