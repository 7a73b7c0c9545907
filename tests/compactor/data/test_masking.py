"""Masked language modelling: which tokens are hidden, and what a batch of them holds."""

import numpy as np
import pytest
import torch

from compactor.data.masking import Masker, masker_for
from compactor.data.spec import MaskingSpec
from compactor.records import IGNORE, Batch
from compactor.tasks.masked_lm import masked
from compactor_runtimes.errors import UsageError
from tests.compactor.text_toys import write_tokenizer

MASK_ID, IDS = 4, 30


def masker(**changes):
    special = np.zeros(IDS, dtype=bool)
    special[:5] = True
    return Masker(MaskingSpec(**changes), MASK_ID, special)


def batch(rows=400, length=20):
    rng = np.random.default_rng(0)
    ids = rng.integers(5, IDS, (rows, length))
    ids[:, 0] = 2
    mask = np.ones_like(ids)
    mask[1::2, length // 2 :] = 0
    return np.where(mask == 1, ids, 0), mask


def rng(seed=0):
    return np.random.default_rng(seed)


def test_shares_of_chosen_hidden_kept_and_drawn():
    ids, mask = batch()
    hidden, chosen = masker(rate=0.2, keep=0.1, random=0.3)(ids, mask, rng())
    ordinary = (mask == 1) & (ids >= 5)
    assert chosen[ordinary].mean() == pytest.approx(0.2, abs=0.015)
    assert (hidden[chosen] == MASK_ID).mean() == pytest.approx(0.6, abs=0.03)
    # a drawn token is the true one in 1 of 25 cases, which looks like a kept one
    assert (hidden[chosen] == ids[chosen]).mean() == pytest.approx(0.1 + 0.3 / 25, abs=0.03)
    assert (hidden[~chosen] == ids[~chosen]).all()
    assert hidden[chosen & (hidden != MASK_ID)].min() >= 5


def test_special_tokens_and_padding_are_never_chosen_and_every_text_has_one():
    ids, mask = batch(length=4)
    _, chosen = masker(rate=0.01)(ids, mask, rng())
    assert not chosen[ids < 5].any()
    assert not chosen[mask == 0].any()
    assert chosen.any(1).all()
    only_special = np.full((1, 3), 2)
    assert not masker()(only_special, np.ones_like(only_special), rng())[1].any()


def toy_batch(ids, mask):
    return Batch(
        x={"input_ids": torch.from_numpy(ids), "attention_mask": torch.from_numpy(mask)},
        y={},
        id=torch.arange(len(ids)),
    )


def test_a_batch_asks_for_the_hidden_tokens():
    ids, mask = batch(rows=3, length=6)
    found = masked(toy_batch(ids, mask), masker(rate=0.5), rng(1), slice(None))
    _, chosen = masker(rate=0.5)(ids, mask, rng(1))
    expected = [row * 6 + column for row in range(3) for column in range(6) if chosen[row, column]]
    assert found.x["positions"].tolist() == expected
    assert found.y["mlm"].tolist() == [ids.flat[at] for at in expected]


def test_positions_of_all_tokens_have_labels_where_they_are_hidden():
    ids, mask = batch(rows=3, length=6)
    found = masked(toy_batch(ids, mask), masker(rate=0.5, positions="all"), rng(1), slice(None))
    _, chosen = masker(rate=0.5)(ids, mask, rng(1))
    assert found.x["positions"].tolist() == np.flatnonzero(mask).tolist()
    assert found.y["mlm"].tolist() == np.where(chosen, ids, IGNORE).flat[np.flatnonzero(mask)].tolist()


def test_parts_of_a_global_batch_hide_what_the_whole_hides():
    ids, mask = batch(rows=4, length=6)
    whole = masked(toy_batch(ids, mask), masker(), rng(3), slice(None))
    parts = [masked(toy_batch(ids, mask), masker(), rng(3), rows) for rows in (slice(0, 2), slice(2, 4))]
    assert torch.equal(torch.cat([one.x["input_ids"] for one in parts]), whole.x["input_ids"])
    assert torch.equal(torch.cat([one.y["mlm"] for one in parts]), whole.y["mlm"])
    second = parts[1].x["positions"] + 2 * 6
    assert torch.equal(torch.cat([parts[0].x["positions"], second]), whole.x["positions"])
    assert parts[1].id.tolist() == [2, 3]


def test_a_tokenizer_without_a_mask_token_is_refused(tmp_path):
    with pytest.raises(UsageError, match="nothing can be hidden"):
        masker_for(write_tokenizer(tmp_path), MaskingSpec())


def test_the_mask_token_is_found(tmp_path):
    path = write_tokenizer(tmp_path, ["[MASK]", "play"])
    assert masker_for(path, MaskingSpec()).mask_id == 4
