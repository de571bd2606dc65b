"""Identities, handshakes, signatures and derived names: pure, randomness is passed in."""
