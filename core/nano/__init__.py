"""The nano world: a procedural scene generator, and the small base trained on it."""
