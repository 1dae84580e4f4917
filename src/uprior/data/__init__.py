"""Maps on integers: which row stands where in which batch, and which id a symbol gets."""

from uprior.data.stream import CorpusStream, Stream
from uprior.data.vocabulary import Vocabulary

__all__ = ["CorpusStream", "Stream", "Vocabulary"]
