"""Teaching the embedded base from nothing: `python -m coeffdream.workshop.build`."""
