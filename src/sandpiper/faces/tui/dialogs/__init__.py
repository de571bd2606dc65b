"""Dialogs over the screen, one a module; each is a `ModalScreen` whose result says what the person chose."""
