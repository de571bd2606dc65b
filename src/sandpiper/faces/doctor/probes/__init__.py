"""IO in, facts out: they look and decide nothing."""
