"""Training of the nano base, once, from nothing but the procedural world."""
