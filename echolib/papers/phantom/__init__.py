"""The phantom: what the book's own patients look like."""

from echolib.pages.catalogue import Paper

PAPER = Paper("phantom", "The data and the score", place=0, after=("book/scorecard",))
