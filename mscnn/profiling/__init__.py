"""Tables of profiles of any program: read, corrected, aggregated, compared and scored."""
