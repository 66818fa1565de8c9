"""What the scripts of launch/ share on both sides, here and on AWS: recipes, settings, flags, ranges and trials."""
