"""Several runs in one table: read their predictions in any form, match them by name, score and compare them.

The names are imported when they are first used, as those of `thorax.scoring`.
"""
