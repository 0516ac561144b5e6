"""echolib: models, losses, data and evaluation behind the reproducible companion to the SimLVSeg paper."""

__version__ = "0.1.0"
