"""Which part of a piece of work is this process's: as told, or as SLURM or torchrun say."""

from __future__ import annotations

from collections.abc import Mapping

from uprior.errors import SpecError


def parse_part(text: str) -> tuple[int, int]:
    """``i/n`` as (i, n): part i of n, counted from 0.

    >>> parse_part("1/4")
    (1, 4)
    """
    parts = text.split("/")
    if len(parts) == 2 and all(part.isdecimal() for part in parts) and int(parts[0]) < int(parts[1]):
        return int(parts[0]), int(parts[1])
    raise SpecError(f"--shard {text} is not allowed; allowed: i/n with i from 0 to n - 1, as in 0/4, 1/4, 2/4, 3/4")


def part_of_environment(environment: Mapping[str, str]) -> tuple[int, int, str]:
    """(i, n, where it was read): a SLURM array's task, times torchrun's rank or the SLURM task within; (0, 1, "") alone.

    Only ``srun`` starts one process per task. A batch script sees SLURM_NTASKS too, but is one process: it is not given a
    part, lest the other parts be nobody's.

    >>> part_of_environment({"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "4", "RANK": "1", "WORLD_SIZE": "2"})
    (7, 8, 'SLURM_ARRAY_TASK_ID=3, RANK=1')
    """
    index, count, said = 0, 1, []
    if "SLURM_ARRAY_TASK_ID" in environment:
        task = _number(environment, "SLURM_ARRAY_TASK_ID", 0)
        first, step = _number(environment, "SLURM_ARRAY_TASK_MIN", 0), _number(environment, "SLURM_ARRAY_TASK_STEP", 1)
        count = _number(environment, "SLURM_ARRAY_TASK_COUNT", 1)
        index, rest = divmod(task - first, max(1, step))
        if rest or not 0 <= index < count:
            raise SpecError(
                f"the SLURM array's task {task} of {count} does not say which part it is (the array has gaps); give --shard i/n"
            )
        said.append(f"SLURM_ARRAY_TASK_ID={task}")
    in_script = "SLURM_JOB_ID" in environment and "SLURM_STEP_ID" not in environment
    if "RANK" in environment and "WORLD_SIZE" in environment:
        inner, names = True, ("RANK", "WORLD_SIZE")
    else:
        inner, names = "SLURM_PROCID" in environment and not in_script, ("SLURM_PROCID", "SLURM_NTASKS")
    if inner:
        rank, world = _number(environment, names[0], 0), _number(environment, names[1], 1)
        if not 0 <= rank < world:
            raise SpecError(f"{names[0]}={rank} with {names[1]}={world} is not possible; give --shard i/n")
        index, count = index * world + rank, count * world
        said.append(f"{names[0]}={rank}")
    return index, count, ", ".join(said)


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    text = environment.get(name, str(default))
    if not text.isdecimal():
        raise SpecError(f"{name}={text} is not a whole number; give --shard i/n")
    return int(text)
