"""Maps on integers: which row stands where in which batch, and which id a symbol gets."""

from uprior.data.answers import Answers, AnswerStream
from uprior.data.bpe import BytePairs, TokenStream
from uprior.data.replay import Replay
from uprior.data.stream import CorpusStream, Stream
from uprior.data.vocabulary import Vocabulary

__all__ = ["AnswerStream", "Answers", "BytePairs", "CorpusStream", "Replay", "Stream", "TokenStream", "Vocabulary"]
