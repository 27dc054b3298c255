"""Training of the panorama LoRA and of the 360-Adapter over the frozen base, from the cache."""
