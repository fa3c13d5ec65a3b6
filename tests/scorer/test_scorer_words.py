"""Captions as numbers of words."""

from fastdiffusers.scorer.words import FIRST_WORD, LONGEST, PAD, UNKNOWN, Words, padded, split_words, word_list


def test_words_without_punctuation_and_case():
    assert split_words("T-Rex, NOTO style") == ["t", "rex", "noto", "style"]
    assert split_words("a jack’s piñata!") == ["a", "jack's", "pinata"]
    assert split_words(" ... ") == []


def test_every_word_has_its_own_number():
    known = word_list(["a red apple", "red cat"])
    assert known == ("a", "apple", "cat", "red")
    words = Words(known)
    assert len(words) == FIRST_WORD + 4
    assert sorted(words.numbers("a apple cat red")) == list(range(FIRST_WORD, FIRST_WORD + 4))
    assert words.numbers("Red  apple,") == words.numbers("red apple")


def test_unknown_words_are_named_and_numbered_alike():
    words = Words(("a", "cat"))
    assert words.numbers("a blorby cat")[1] == UNKNOWN
    assert words.unknown("a blorby, blorby cat of Flumph") == ["blorby", "of", "flumph"]
    assert words.numbers("") == words.numbers("?") == [UNKNOWN]
    assert len(words.numbers("cat " * 100)) == LONGEST


def test_padding():
    assert padded([[5], [6, 7, 8]]).tolist() == [[5, PAD, PAD], [6, 7, 8]]
