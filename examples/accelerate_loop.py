"""A loop of one's own with Accelerate: every process works on its rows of the same global batch.

pip install 'uprior[accelerate]'; python examples/accelerate_loop.py
torchrun --nproc-per-node 2 examples/accelerate_loop.py       the same samples in every step, the same losses to rounding
"""

# %%
import tempfile

import torch
from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from torch.nn.functional import cross_entropy
from torch.utils.data import DataLoader

import uprior
from uprior.sources import KeyedRecall

stream = uprior.Stream(KeyedRecall(), seed=0, batch_size=8, length=64)
accelerator = Accelerator(cpu=True)  # leave cpu=True out where there is a GPU
rank, world = accelerator.process_index, accelerator.num_processes


# %% The loader is not given to accelerator.prepare, which would deal the steps out: the stream shares out each step's rows.
def train(start, stop, folder=None):
    model = uprior.build("llama-tiny", vocab=256, context=64)
    model, optimizer = accelerator.prepare(model, torch.optim.AdamW(model.parameters(), lr=1e-3))
    if start:
        accelerator.load_state(folder)
    losses = []
    dataset = stream.torch_dataset(start, stop, rank=rank, world_size=world)
    # A generator of its own: opening a loader would otherwise move the random state that dropout uses.
    loader = DataLoader(dataset, batch_size=None, generator=torch.Generator())
    for step, item in enumerate(loader, start):
        item = {name: values.to(accelerator.device) for name, values in item.items()}
        targets = item["labels"][:, 1:]  # -100 where nothing is scored
        scored = accelerator.reduce((targets != -100).sum(), "sum")  # over the global batch: shares score unequally
        logits = model(input_ids=item["input_ids"], use_cache=False).logits[:, :-1]
        nats = cross_entropy(logits.flatten(0, 1).float(), targets.flatten(), reduction="sum")
        accelerator.backward(nats * world / scored)  # data-parallel processes average their gradients
        optimizer.step()
        optimizer.zero_grad()
        losses.append(float(accelerator.reduce(nats.detach(), "sum") / scored))
        everyone = accelerator.gather(item["input_ids"]).cpu()
        assert torch.equal(everyone, torch.from_numpy(stream.batch(step).tokens))
    if folder and not start:
        accelerator.save_state(folder)
    weights = {name: tensor.clone() for name, tensor in accelerator.unwrap_model(model).state_dict().items()}
    accelerator.free_memory()  # forget this model, so that the next one is saved and loaded alone
    return losses, weights


# %% Six steps in one go; then three, a checkpoint, and three more from it.
with tempfile.TemporaryDirectory() as own:
    folder = broadcast_object_list([own])[0]  # one folder for all processes
    whole_losses, whole = train(0, 6)
    first_losses, _ = train(0, 3, folder)
    later_losses, resumed = train(3, 6, folder)
    accelerator.wait_for_everyone()

assert first_losses + later_losses == whole_losses
assert all(torch.equal(whole[name], resumed[name]) for name in whole)
accelerator.print("losses in nats:", " ".join(f"{loss:.6f}" for loss in whole_losses))
accelerator.print(f"{world} process(es), resumed after step 3: the same {len(whole)} tensors, bit for bit")
accelerator.end_training()
