"""Fine-tuning of compiled networks with surrogate gradients (needs the extra [train])."""

from snncc.trainer.forward import Trace
from snncc.trainer.module import SpikingModule

__all__ = ["SpikingModule", "Trace"]
