"""Which sites there are, what was done to them, and who is held out.  Imports no torch."""
