"""SimLVSeg (Maani et al., Ultrasound in Medicine & Biology, 2024)."""
