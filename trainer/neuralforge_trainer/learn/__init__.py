"""Learning an adapter: LoRA, replay, EWC and the training job."""
