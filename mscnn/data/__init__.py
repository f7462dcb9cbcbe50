"""Fields of view: tables, images, splits, scale, order, augmentation, and synthetic plates."""
