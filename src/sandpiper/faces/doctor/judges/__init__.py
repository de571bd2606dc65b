"""Facts in, findings out: every decision of the doctor, with no IO."""
