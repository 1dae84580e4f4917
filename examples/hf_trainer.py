"""The Hugging Face Trainer on a stream: killed, resumed, and bit for bit the run that was never interrupted.

pip install 'uprior[accelerate]'; python examples/hf_trainer.py
"""

# %%
import tempfile

import torch
from transformers import GPT2Config, GPT2LMHeadModel, Trainer, TrainingArguments, set_seed

import uprior
from uprior.data.trainers import SeekCallback
from uprior.sources import KeyedRecall

stream = uprior.Stream(KeyedRecall(), seed=0, batch_size=8, length=64)


# %% One step of the trainer is one batch of the stream: 4 rows per device * 2 accumulated * 1 process = 8.
def train(folder, resume_from=None):
    set_seed(0)
    # Dropout stays on, so a resumed run has to drop the same units too.
    config = GPT2Config(vocab_size=256, n_positions=64, n_embd=32, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0)
    model = GPT2LMHeadModel(config)
    seek = SeekCallback(stream)
    arguments = TrainingArguments(
        folder,
        max_steps=6,
        per_device_train_batch_size=4,
        gradient_accumulation_steps=2,
        ignore_data_skip=True,  # the callback seeks instead
        save_steps=3,
        logging_steps=1,
        use_cpu=True,
        disable_tqdm=True,
        report_to=[],
    )
    trainer = Trainer(model, arguments, train_dataset=seek.rows, callbacks=[seek])
    trainer.train(resume_from_checkpoint=resume_from)
    losses = [line["loss"] for line in trainer.state.log_history if "loss" in line]
    return losses, model.state_dict()


# %% Six steps in one go; then again from the checkpoint after step 3.
with tempfile.TemporaryDirectory() as folder:
    whole_losses, whole = train(folder)
    resumed_losses, resumed = train(folder, resume_from=f"{folder}/checkpoint-3")

assert resumed_losses == whole_losses
assert all(torch.equal(whole[name], resumed[name]) for name in whole)
print("losses in nats:", " ".join(f"{loss:.4f}" for loss in whole_losses))
print(f"resumed after step 3: the same {len(whole)} tensors, bit for bit")
