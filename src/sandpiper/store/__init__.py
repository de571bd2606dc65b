"""What a profile keeps on disk: history, profile and keys. The only place that knows SQL."""
