"""Evaluation: scores panoramic videos, whoever made them, and compares the methods that made them."""
