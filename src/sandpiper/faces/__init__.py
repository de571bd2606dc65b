"""Faces: what a person or a script sees of a node. Only here do errors become sentences."""
