"""What everything else stands on: settings, refusals, files, logs.  Imports nothing of ours and no torch."""
