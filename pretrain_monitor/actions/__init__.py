"""What is done about an incident when the user has asked for it: decided here, carried out by the adapters."""

from .settings import Action, Checkpoint, LowerLearningRate, Rewind, SkipStep, Stop

__all__ = ["Action", "Checkpoint", "LowerLearningRate", "Rewind", "SkipStep", "Stop"]
