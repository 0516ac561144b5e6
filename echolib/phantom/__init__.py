"""A simulated apical four-chamber cohort with the exact ventricle on every frame.

``presets.draw`` draws the knobs of one clip, ``clip.simulate`` makes it: anatomy and motion give moving meshes and
exact contours, ultrasound turns scatterers that ride on the meshes into B-mode frames, artefacts spoil them.
``cohort`` writes files in the layouts of EchoNet-Dynamic and CAMUS; ``statistics`` holds the acceptance statistics.
"""
