"""The part of the report that is explored: plates, a map of profiles, a table of treatments and pictures, linked."""
