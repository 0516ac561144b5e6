"""PKEcho-Net (Wu et al., AAAI 2023)."""

from echolib.pages.catalogue import Paper

PAPER = Paper("pkecho", "PKEcho-Net", place=3)
