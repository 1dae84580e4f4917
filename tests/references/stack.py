"""Stack: the reference and a checker of its rows."""

import math

from references._set_tasks import Episode, read_rows, specs, write_rows
from uprior.sources import Stack

GOLDEN = (1, "89455f2abe19c93a")
SPECS = specs(Stack, Stack(readout="final", symbols=5, max_items=30))


def reference(source, draw, rows, length):
    rng, content, separator = draw("rows"), source.symbols - 1, source.symbols

    def episode(_, items):
        made, stack = Episode(), []
        for step in range(items):
            if len(stack) <= 1:
                push = 1.0
            elif step == items - 1 or len(stack) == content:
                push = 0.0
            else:
                push = 0.75 if step < 2 * items // 3 else 0.25
            if rng.random() < push:
                symbol = 1 + int(rng.random() * content)
                while symbol in stack:
                    symbol = 1 + int(rng.random() * content)
                made.add(symbol, -math.log(push / (content - len(stack))))
                stack.append(symbol)
            else:
                made.add(0, -math.log(1 - push))
                popped = stack.pop()
                if source.readout == "every":
                    made.add_answer([popped])
        made.add(separator)
        made.add_answer(stack[::-1])
        return made

    return write_rows(source, draw, rows, length, separator + 1, episode)


def validate(source, block):
    """Every push is of a symbol not on the stack, and what is read is what was pushed last and not read yet."""
    separator = source.symbols
    if source.readout == "final":
        return validate_final(source, block)
    for n, tokens in enumerate(block.tokens.tolist()):
        stack, operations, popped, scored = [], 0, False, []
        reading, done = False, False
        for token in tokens:
            if done and not source.packed:
                assert token == separator + 1
                scored.append(False)
            elif popped or (reading and stack):
                assert token == stack.pop()
                scored.append(True)
                popped = False
            elif reading and source.end_token:
                assert token == separator + 1
                scored.append(True)
                reading, done, operations = False, True, 0
            elif operations == block.info["items"][n] and not reading:
                assert token == separator
                scored.append(False)
                reading = True
            else:
                if reading:  # an episode without end token is over
                    reading, operations = False, 0
                assert 0 <= token < separator and token not in stack
                scored.append(False)
                popped = token == 0
                if not popped:
                    stack.append(token)
                operations += 1
            if reading and not stack and not source.end_token:
                done = True
        assert block.scored is None or block.scored[n].tolist() == scored


def validate_final(source, block):
    reader = read_rows(source, block, lambda items: items + 1)
    answer = None
    while True:
        try:
            n, _, operations = next(reader) if answer is None else reader.send(answer)
        except StopIteration:
            return
        assert len(operations) == block.info["items"][n]
        stack = []
        for operation in operations:
            if operation:
                assert operation not in stack
                stack.append(operation)
            else:
                stack.pop()
        assert stack or len(operations) == 0
        answer = stack[::-1]
