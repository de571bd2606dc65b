"""The transcript: entries in order (`sheet`), as lines (`layout`), on the screen (`widget`)."""
