"""Every option of the project, validated; nothing else."""

from echolib.config.specs import *  # noqa: F403
