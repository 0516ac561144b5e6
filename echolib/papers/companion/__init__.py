"""Pages of the book that are no table or figure of a paper."""

from echolib.pages.catalogue import Paper, Question

QUESTIONS = (
    Question("Does CSS' cycle help between the traced frames?", "family",
             "CSS: its self- or semi-supervision helps CSS, all frames"),
    Question("Do PKEcho-Net's shared kernels help between the traced frames?", "family",
             "PKEcho-Net: its self- or semi-supervision helps PKEcho-Net, all frames"),
    Question("Does SSCF's mean teacher help between the traced frames?", "family",
             "SSCF: its self- or semi-supervision helps SSCF, all frames"))

PAPER = Paper("companion", "Beyond the papers", place=9, questions=QUESTIONS)
