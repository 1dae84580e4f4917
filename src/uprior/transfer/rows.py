"""Tables with one row per token or position, made for another number of rows. V rows of a table, H width."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from uprior.errors import SpecError

Vocabulary = Mapping[str, int] | Sequence[str]


def mean_rows(trained_VH: torch.Tensor, num_rows: int) -> torch.Tensor:
    """[num_rows, H]: every row the mean of the trained ones, so that all tokens are alike at first."""
    return trained_VH.double().mean(0).to(trained_VH.dtype).expand(num_rows, *trained_VH.shape[1:])


def matched_rows(
    trained_VH: torch.Tensor, num_rows: int, vocabularies: tuple[Vocabulary, Vocabulary] | None
) -> tuple[torch.Tensor, int]:
    """[num_rows, H] and how many rows were found: tokens that both vocabularies have keep their row, others get the mean.

    vocabularies    the trained model's and the fresh one's, token -> id or tokens in the order of their ids; None: the same id
                    is the same token
    Raises SpecError: an id outside the table, or no token in common.
    """
    if vocabularies is None:
        common = min(len(trained_VH), num_rows)
        pairs = [(i, i) for i in range(common)]
    else:
        old = _ids(vocabularies[0], len(trained_VH), "trained")
        new = _ids(vocabularies[1], num_rows, "fresh")
        pairs = [(old[token], new[token]) for token in new if token in old]
    if not pairs:
        raise SpecError("the two vocabularies have no token in common; type embeddings='mean' or 'random'")
    made_VH = mean_rows(trained_VH, num_rows).clone()
    made_VH[[new_id for _, new_id in pairs]] = trained_VH[[old_id for old_id, _ in pairs]]
    return made_VH, len({new_id for _, new_id in pairs})


def extended_rows(trained_TH: torch.Tensor, fresh_TH: torch.Tensor) -> torch.Tensor:
    """The fresh table with as many trained rows as there are, from the first position on."""
    common = min(len(trained_TH), len(fresh_TH))
    return torch.cat([trained_TH[:common].to(fresh_TH), fresh_TH[common:]])


def _ids(vocabulary: Vocabulary, num_rows: int, whose: str) -> dict[str, int]:
    """token -> id, each within the table."""
    if isinstance(vocabulary, Mapping):
        ids = dict(vocabulary)
    else:
        ids = {token: i for i, token in enumerate(vocabulary)}
    for token, i in ids.items():
        if not 0 <= i < num_rows:
            raise SpecError(
                f"the {whose} vocabulary gives {token!r} the id {i}, but that model's table has {num_rows} rows; "
                f"give the vocabulary that the {whose} model was built for"
            )
    return ids
