"""A LightningModule on a stream: resumed in the middle of an endless epoch, bit for bit.

pip install 'uprior[lightning]'; python examples/lightning_module.py
"""

# %%
import tempfile

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import ModelCheckpoint
from torch.utils.data import DataLoader

import uprior
from uprior.sources import KeyedRecall

stream = uprior.Stream(KeyedRecall(), seed=0, batch_size=8, length=64)


# %% The hook that makes the loader knows the step to go on from. Lightning fetches one batch ahead of an endless loader, so the
# position of the loader itself would be one too far: never save that, ask the trainer.
class Warmup(LightningModule):
    def __init__(self):
        super().__init__()
        self.model = uprior.build("llama-tiny", vocab=256, context=64)
        self.seen, self.losses = [], []

    def train_dataloader(self):
        start = self.trainer.global_step  # times accumulate_grad_batches, if that is not 1
        ranks = {"rank": self.trainer.global_rank, "world_size": self.trainer.world_size}
        return DataLoader(stream.torch_dataset(start, **ranks), batch_size=None)

    def training_step(self, item, _index):
        loss = self.model(**item, use_cache=False).loss
        self.seen.append(item["input_ids"].numpy())
        self.losses.append(loss.item())
        return loss

    def configure_optimizers(self):
        return torch.optim.AdamW(self.parameters(), lr=1e-3)


def train(folder, resume_from=None):
    module = Warmup()
    checkpoints = ModelCheckpoint(folder, filename="{step}", every_n_train_steps=3, save_top_k=-1)
    trainer = Trainer(
        max_steps=6,
        accelerator="cpu",
        devices=1,
        callbacks=[checkpoints],
        logger=False,
        use_distributed_sampler=False,  # the stream shares out the rows itself
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(module, ckpt_path=resume_from, weights_only=True)
    return module


# %% Six steps in one go; then again from the checkpoint after step 3.
with tempfile.TemporaryDirectory() as folder:
    whole = train(folder)
    resumed = train(folder, resume_from=f"{folder}/step=3.ckpt")

assert all(np.array_equal(tokens, stream.batch(step).tokens) for step, tokens in enumerate(whole.seen))
assert all(np.array_equal(tokens, stream.batch(3 + i).tokens) for i, tokens in enumerate(resumed.seen))
assert whole.losses[3:] == resumed.losses and len(whole.losses) == 6
assert all(torch.equal(a, b) for a, b in zip(whole.parameters(), resumed.parameters(), strict=True))
print("losses in nats:", " ".join(f"{loss:.4f}" for loss in whole.losses))
print("resumed after step 3: steps 3 to 5 seen once, the same weights, bit for bit")
