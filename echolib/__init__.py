"""echolib: models, losses, data and evaluation behind the reproducible companion to the SimLVSeg paper.

``echolib.segment(video, fps, spacing_mm)`` segments one clip; see :mod:`echolib.clinic`.
"""

from __future__ import annotations

__version__ = "0.1.0"
__all__ = ["__version__", "segment"]


def __getattr__(name: str):
    """``echolib.segment`` is imported when it is first asked for, so that ``import echolib`` stays quick."""
    if name == "segment":
        from echolib.clinic.segmentation import segment

        return segment
    raise AttributeError(f"module 'echolib' has no attribute {name!r}")
