"""Fine-tuning of compiled networks with surrogate gradients (needs the extra [train])."""

from snncc.trainer.module import SpikingModule, Trace

__all__ = ["SpikingModule", "Trace"]
