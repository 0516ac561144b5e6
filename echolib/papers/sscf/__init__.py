"""SSCF (Wu, Liu et al., Medical Image Analysis 2022)."""

from echolib.pages.catalogue import Paper

PAPER = Paper("sscf", "SSCF", place=4)
