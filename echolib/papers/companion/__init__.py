"""Pages of the book that are no table or figure of a paper."""

from echolib.pages.catalogue import Paper

PAPER = Paper("companion", "Beyond the papers", place=9)
