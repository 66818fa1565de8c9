"""From channels to tensors: formats, samples, splits, decoding, augmentation and loading."""
