"""`check`, `stats` and `pack` on several machines of one SageMaker Processing job: every machine has the list of all
images and does every N-th unit of them; the first one puts the results together, as one machine would have them."""
