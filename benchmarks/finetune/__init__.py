"""Fine-tuning of compiled networks: fewer SynOps or fewer steps at the teacher's Dice, and training from the start."""
