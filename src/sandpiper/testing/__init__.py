"""Tools for testing programs built on Sandpiper: shipped, so that others can test their bots with them."""
