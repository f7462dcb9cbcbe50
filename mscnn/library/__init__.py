"""What `import mscnn` offers to notebooks and programs: load_run, read_screen and score_profiles."""
