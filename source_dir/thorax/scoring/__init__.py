"""Many images through a bundle: scores on labelled images, one table for a folder."""
