"""CSS-SemiVideo (Dai et al., IEEE Transactions on Medical Imaging, 2023)."""

from echolib.pages.catalogue import Paper

PAPER = Paper("css", "CSS: ejection fraction with few labels", place=2, lead="css_table1")
