"""The transcript: entries in order (`window`), as lines (`layout`), on the screen (`widget`)."""
