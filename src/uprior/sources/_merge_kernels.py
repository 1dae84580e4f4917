"""Merge, agree and move: how lexicons are drawn, and how sentences are written from them."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from uprior.sources._alias import shuffle_first
from uprior.sources._exact import kernel

SEPARATOR = 0
NONE, SPECIFIER, COMPLEMENT = 0, 1, 2  # a slot of a frame
# Columns of Lexicons.frame; ``slot - 1`` is the category of what a slot takes
_AGREES, _CARRIES, _LANDMARK = 2, 3, 4
# Columns of Lexicons.category
_FRAMES, _WORDS, _HEAD_LAST, _ESCAPE = 0, 1, 2, 3
# What can stand on the stack, and what its other columns hold.
_PHRASE, _HEAD, _MARKER, _TRACE = 0, 1, 2, 3
_KIND, _CATEGORY, _OWN, _OTHER, _OTHER_CATEGORY, _DEPTH = 0, 1, 2, 3, 4, 5
_FAR = 1 << 30


class Lexicons(NamedTuple):
    """M lexicons of at most C categories, F frames and W words a category, G classes of agreement.

    category  [M, C, 4] number of frames, number of words, 1 where the head comes last, the frame that leads to a gap soonest
    frame     [M, C, F, 5] category of the specifier and of the complement (-1: none), the slot it agrees with, the slot that
              holds the gap of a moved phrase (0: it cannot), and its landmark's token
    chance    [M, C, F, 2] probability of a frame, and of a frame that must hold a gap
    word      [M, C, W, 2] token and class of a head
    weight    [M, C, W] probability of a head
    share     [M, C, G] probability of a class
    marker    [M, C, G] token of agreement with a class
    special   [M, 3] tokens of the landmark of movement and of the trace; the category that moves
    """

    category: NDArray[np.int64]
    frame: NDArray[np.int64]
    chance: NDArray[np.float64]
    word: NDArray[np.int64]
    weight: NDArray[np.float64]
    share: NDArray[np.float64]
    marker: NDArray[np.int64]
    special: NDArray[np.int64]

    @classmethod
    def room(cls, machines: int, categories: int, frames: int, words: int, classes: int) -> Lexicons:
        shape = (machines, categories)
        return cls(
            category=np.zeros((*shape, 4), dtype=np.int64),
            frame=np.zeros((*shape, frames, 5), dtype=np.int64),
            chance=np.zeros((*shape, frames, 2)),
            word=np.zeros((*shape, words, 2), dtype=np.int64),
            weight=np.zeros((*shape, words)),
            share=np.zeros((*shape, classes)),
            marker=np.zeros((*shape, classes), dtype=np.int64),
            special=np.zeros((machines, 3), dtype=np.int64),
        )


@kernel
def draw_lexicons(
    rng: np.random.Generator,
    categories_M: NDArray[np.int64],
    classes_M: NDArray[np.int64],
    growth_M: NDArray[np.float64],
    agreement: float,
    identities: NDArray[np.int64],
    category_M: NDArray[np.int64],
    frame_M: NDArray[np.int64],
    chance_M: NDArray[np.float64],
    word_M: NDArray[np.int64],
    weight_M: NDArray[np.float64],
    share_M: NDArray[np.float64],
    marker_M: NDArray[np.int64],
    special_M: NDArray[np.int64],
) -> None:
    """Fill in the lexicons; ``chance_M`` and ``weight_M`` hold exponential variables, and ``share_M`` zeros."""
    most_frames, most_words = frame_M.shape[2], word_M.shape[2]
    distance = np.empty(category_M.shape[1], dtype=np.int64)
    for m in range(len(categories_M)):
        categories, classes, used = categories_M[m], classes_M[m], 2
        shuffle_first(rng, identities, len(identities))
        moved = 1 + int(rng.random() * (categories - 1))
        special_M[m, 0], special_M[m, 1], special_M[m, 2] = identities[0], identities[1], moved
        for c in range(categories):
            frame, chance = frame_M[m, c], chance_M[m, c]
            frames, words = 2 + int(rng.random() * (most_frames - 1)), 2 + int(rng.random() * (most_words - 1))
            category_M[m, c, _FRAMES], category_M[m, c, _WORDS] = frames, words
            category_M[m, c, _HEAD_LAST] = int(rng.random() * 2)
            total, slots = 0.0, 0.0
            for k in range(frames):
                slot = 1 + int(rng.random() * 3) if k > 0 else 0  # bits: specifier, complement
                frame[k, SPECIFIER - 1] = int(rng.random() * categories) if slot & 1 else -1
                frame[k, COMPLEMENT - 1] = int(rng.random() * categories) if slot & 2 else -1
                if c == 0 and k == 1:  # so that something can move out of a clause
                    frame[k, 0 if slot & 1 else 1] = moved
                frame[k, _AGREES] = NONE
                if k > 0 and rng.random() < agreement:
                    frame[k, _AGREES] = slot if slot < 3 else 1 + int(rng.random() * 2)
                frame[k, _LANDMARK] = identities[used]
                used += 1
                if k > 0:
                    total += chance[k, 0]
                    slots += chance[k, 0] * (2 if slot == 3 else 1)
            branch = min(growth_M[m] * total / slots, 0.95)
            for k in range(1, frames):
                chance[k, 0], chance[k, 1] = chance[k, 0] * branch / total, chance[k, 0]
            chance[0, 0] = 1.0 - branch
            total = 0.0
            for w in range(words):
                word_M[m, c, w, 0], word_M[m, c, w, 1] = identities[used], int(rng.random() * classes)
                used += 1
                total += weight_M[m, c, w]
            for w in range(words):
                weight_M[m, c, w] /= total
                share_M[m, c, word_M[m, c, w, 1]] += weight_M[m, c, w]
            for g in range(classes):
                marker_M[m, c, g] = identities[used]
                used += 1
        _find_gaps(categories, moved, category_M[m], frame_M[m], chance_M[m], distance)


@kernel
def _find_gaps(
    categories: int,
    moved: int,
    category: NDArray[np.int64],
    frame: NDArray[np.int64],
    chance: NDArray[np.float64],
    distance: NDArray[np.int64],
) -> None:
    """Which slot of each frame is nearest to a gap, by shortest paths; frames without one get no chance to hold it."""
    distance[:categories] = _FAR
    for _ in range(categories + 1):
        for c in range(categories):
            for k in range(1, category[c, _FRAMES]):
                best = _FAR
                for slot in range(SPECIFIER, COMPLEMENT + 1):
                    inner = frame[c, k, slot - 1]
                    if inner >= 0:
                        far = 1 if inner == moved else distance[inner] + 1
                        if far < best:
                            best, frame[c, k, _CARRIES] = far, slot
                if best < distance[c]:
                    distance[c], category[c, _ESCAPE] = best, k
    for c in range(categories):
        total = 0.0
        for k in range(category[c, _FRAMES]):
            if frame[c, k, _CARRIES] == NONE:
                chance[c, k, 1] = 0.0
            total += chance[c, k, 1]
        for k in range(category[c, _FRAMES]):
            chance[c, k, 1] /= max(total, 1e-300)


@kernel
def _push(
    stack: NDArray[np.int64], held: int, kind: int, category: int, own: int, other: int, other_category: int, depth: int
) -> None:
    """Write one item of the stack."""
    stack[held, _KIND], stack[held, _CATEGORY], stack[held, _OWN] = kind, category, own
    stack[held, _OTHER], stack[held, _OTHER_CATEGORY], stack[held, _DEPTH] = other, other_category, depth


@kernel
def write_sentences(
    rng: np.random.Generator,
    moves_M: NDArray[np.float64],
    max_depth: int,
    landmarks: bool,
    overt: bool,
    category_M: NDArray[np.int64],
    frame_M: NDArray[np.int64],
    chance_M: NDArray[np.float64],
    word_M: NDArray[np.int64],
    weight_M: NDArray[np.float64],
    share_M: NDArray[np.float64],
    marker_M: NDArray[np.int64],
    special_M: NDArray[np.int64],
    tokens_NT: NDArray[np.unsignedinteger[Any]],
    probability_NT: NDArray[np.float32],
    info_N: NDArray[np.int64],
    trace: NDArray[np.int64],
) -> None:
    """Write rows of sentences, each ended by the separator; row n belongs to machine n modulo their number.

    The stack holds what is still to come. Phrases are numbered in each sentence: class_of[id] is the class of the phrase's
    head (-1: not known yet), place[id] where it was first shown, by its head or by a marker. ``info_N`` [N, 5]: sentences,
    depth, moves, agreements, largest distance of agreement. ``trace`` gets the depth of each token of row 0, if it has room.
    """
    rows, length = tokens_NT.shape
    room = 3 * (length + 2 * (max_depth + category_M.shape[1])) + 8
    stack = np.empty((6 * (max_depth + category_M.shape[1] + 2), 6), dtype=np.int64)
    class_of, place = np.empty(room, dtype=np.int64), np.empty(room, dtype=np.int64)
    slot_kind, slot_id, slot_gap = np.empty(3, np.int64), np.empty(3, np.int64), np.empty(3, np.int64)
    # As variables: constants would compile _push once for each combination of them.
    kinds = np.arange(4)
    zero, none, one = kinds[0], kinds[0] - 1, kinds[1]
    phrase, head, marker = kinds[_PHRASE], kinds[_HEAD], kinds[_MARKER]
    for row in range(rows):
        m = row % len(special_M)
        category, frame, chance = category_M[m], frame_M[m], chance_M[m]
        word, weight, share = word_M[m], weight_M[m], share_M[m]
        sentences, deepest, moves, agreements, farthest = 0, 0, 0, 0, 0
        t, held, ids, p = 0, 0, 0, 1.0
        while t < length:
            token, depth = -1, 0
            if held == 0:
                if t > 0:
                    token = SEPARATOR
                    sentences += 1
                class_of[0], ids, held = -1, 1, 1
                _push(stack, zero, phrase, zero, zero, none, zero, one)
            else:
                held -= 1
                kind, c, own, other = stack[held, _KIND], stack[held, _CATEGORY], stack[held, _OWN], stack[held, _OTHER]
                other_category, depth = stack[held, _OTHER_CATEGORY], stack[held, _DEPTH]
                if kind == _PHRASE:
                    # ``other`` is the moved phrase whose gap this one holds, -1 if none.
                    deepest = max(deepest, depth)
                    gap, may_move = other, c == 0 and other < 0 and depth < max_depth
                    if may_move and rng.random() < moves_M[m]:
                        p *= moves_M[m]
                        moves += 1
                        class_of[ids] = -1
                        _push(stack, held, phrase, zero, own, ids, zero, depth)
                        _push(stack, held + 1, phrase, special_M[m, 2], ids, none, zero, depth + 1)
                        held += 2
                        ids += 1
                        token = special_M[m, 0] if landmarks else -1
                    else:
                        if may_move:
                            p *= 1.0 - moves_M[m]
                        column, k = (1 if gap >= 0 else 0), 0
                        if depth >= max_depth:
                            k = category[c, _ESCAPE] if gap >= 0 else 0
                        else:
                            u = rng.random() - chance[c, 0, column]
                            while u >= 0.0 and k < category[c, _FRAMES] - 1:
                                k += 1
                                u -= chance[c, k, column]
                            while chance[c, k, column] == 0.0:  # where rounding led past the last frame
                                k -= 1
                            p *= chance[c, k, column]
                        for slot in range(SPECIFIER, COMPLEMENT + 1):
                            holds = gap >= 0 and frame[c, k, _CARRIES] == slot
                            is_gap = holds and frame[c, k, slot - 1] == special_M[m, 2]
                            slot_kind[slot] = _TRACE if is_gap else _PHRASE
                            slot_id[slot], slot_gap[slot] = gap if is_gap else ids, gap if holds else -1
                            if frame[c, k, slot - 1] >= 0 and not is_gap:
                                class_of[ids], ids = -1, ids + 1
                        # The last to come goes first on the stack.
                        for turn in range(3):
                            slot = COMPLEMENT if turn < 2 else SPECIFIER
                            if turn == 1 - category[c, _HEAD_LAST]:
                                agreed = frame[c, k, _AGREES]
                                if agreed != NONE:
                                    _push(stack, held, marker, c, own, slot_id[agreed], frame[c, k, agreed - 1], depth)
                                    held += 1
                                _push(stack, held, head, c, own, none, zero, depth)
                                held += 1
                            elif frame[c, k, slot - 1] >= 0 and (overt or slot_kind[slot] == _PHRASE):
                                inner = frame[c, k, slot - 1]
                                _push(
                                    stack, held, slot_kind[slot], inner, slot_id[slot], slot_gap[slot], zero, depth + 1
                                )
                                held += 1
                        token = frame[c, k, _LANDMARK] if landmarks else -1
                elif kind == _HEAD:
                    g, w = class_of[own], 0
                    u = rng.random() * (share[c, g] if g >= 0 else 1.0)
                    found = -1
                    while w < category[c, _WORDS]:
                        if g < 0 or word[c, w, 1] == g:
                            found = w
                            u -= weight[c, w]
                            if u < 0.0:
                                break
                        w += 1
                    p *= weight[c, found] / (share[c, g] if g >= 0 else 1.0)
                    if g < 0:
                        class_of[own], place[own] = word[c, found, 1], t
                    else:
                        farthest = max(farthest, t - place[own])
                    token = word[c, found, 0]
                elif kind == _MARKER:
                    if class_of[other] < 0:
                        g, u = 0, rng.random() - share[other_category, 0]
                        while u >= 0.0 and g < share.shape[1] - 1:
                            g += 1
                            u -= share[other_category, g]
                        while share[other_category, g] == 0.0:  # where rounding led past the last class
                            g -= 1
                        p *= share[other_category, g]
                        class_of[other], place[other] = g, t
                    else:
                        farthest = max(farthest, t - place[other])
                    agreements += 1
                    token = marker_M[m, c, class_of[other]]
                else:
                    token = special_M[m, 1]
            if token >= 0:
                tokens_NT[row, t], probability_NT[row, t], p = token, p, 1.0
                if row == 0 and len(trace) > 0:
                    trace[t] = depth
                t += 1
        info_N[row, 0], info_N[row, 1], info_N[row, 2] = sentences, deepest, moves
        info_N[row, 3], info_N[row, 4] = agreements, farthest
