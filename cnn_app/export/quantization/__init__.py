"""Integers in the place of floats, within an accuracy budget."""
