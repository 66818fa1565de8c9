"""The one decoder and the one Preprocessing, under one name."""

from thorax.data.decoders import EXTENSIONS, FORMATS, MAX_PIXELS, DecoderMissing, Header, UnreadableFilm, decode, header, is_film
from thorax.data.preprocessing import Preprocessing

__all__ = ["EXTENSIONS", "FORMATS", "MAX_PIXELS", "DecoderMissing", "Header", "Preprocessing", "UnreadableFilm", "decode", "header", "is_film"]
