"""SimLVSeg (Maani et al., Ultrasound in Medicine & Biology, 2024)."""

from echolib.pages.catalogue import Paper, Question
from echolib.papers.simlvseg.generated import generated_parts

QUESTIONS = (
    Question("Does a network that sees a clip outline better than one that sees single frames?", "simlvseg_table1",
             "SimLVSeg-3D scores above nnU-Net"),
    Question("Does it help to reconstruct masked frames first?", "simlvseg_table1",
             "Pre-training by temporal masking helps the 3D U-Net"),
    Question("Is 60 % the best share of frames to mask?", "simlvseg_figure8", "60 % is the best ratio"),
    Question("Are 32 consecutive frames the best clip for the 3D U-Net?", "simlvseg_figure7",
             "For the 3D U-Net 32 frames at period 1 score best"),
    Question("Is the outline of a clip steadier in time than that of single frames?", "simlvseg_figure9",
             "SimLVSeg-3D gives a smoother area curve than the frame-wise network"),
    Question("Does masking help on another scanner's clips?", "simlvseg_table3",
             "Pre-training helps out of distribution, over all frames"))

PAPER = Paper("simlvseg", "SimLVSeg", place=1, lead="simlvseg_table1", questions=QUESTIONS, generated=generated_parts)
