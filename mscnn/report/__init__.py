"""Pictures and tables for people; the only package that draws."""
