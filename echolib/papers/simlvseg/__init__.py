"""SimLVSeg (Maani et al., Ultrasound in Medicine & Biology, 2024)."""

from echolib.pages.catalogue import Paper
from echolib.papers.simlvseg.generated import generated_parts

PAPER = Paper("simlvseg", "SimLVSeg", place=1, lead="simlvseg_table1", generated=generated_parts)
