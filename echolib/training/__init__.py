"""Training in two stages: temporal masking (``pretrain``), weak supervision (``segment``), both run by ``engine``."""
