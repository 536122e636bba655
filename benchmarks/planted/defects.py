"""Every run with a defect."""

from .knowledge import KNOWLEDGE
from .schedule import SCHEDULE
from .stability import STABILITY

PLANTED = (*STABILITY, *SCHEDULE, *KNOWLEDGE)
