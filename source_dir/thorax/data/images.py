"""The one decoder and the one Preprocessing, under one name."""

from thorax.data.decoders import EXTENSIONS, MAX_PIXELS, DecodeError, DecoderMissing, Header, decode, header, is_image
from thorax.data.preprocessing import Preprocessing

__all__ = [
    "EXTENSIONS",
    "MAX_PIXELS",
    "DecodeError",
    "DecoderMissing",
    "Header",
    "Preprocessing",
    "decode",
    "header",
    "is_image",
]
