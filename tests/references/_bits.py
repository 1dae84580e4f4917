"""What the two tasks on bits must equal."""

import math

from references._set_tasks import Episode, write_rows


def own_strings(source, draw, count):
    """The bit strings of this length that belong to the split, as text."""
    numbers = draw.own_machines(f"first bits of {source.name}", 2**count)
    return [format(number, f"0{count}b") for number in numbers]


def bits_reference(write_rest, mark):
    """``reference`` of a task that goes on with ``write_rest(source, rng, strings, episode)`` after its strings."""

    def reference(source, draw, rows, length):
        rng, dealing = draw("rows"), draw("first bits")
        dealt = {}
        if not source.packed and source.holdout == "machine":
            items = draw("items").integers(source.min_items, source._most_items(length), rows, endpoint=True)
            for row in range(rows):
                own = own_strings(source, draw, min(10, source.strings * int(items[row])))
                dealt[row] = own, own[int(dealing.random() * len(own))]

        def episode(row, n):
            made, strings, drawn = Episode(), [], ""
            own, begun = dealt.get(row, ([], ""))
            for _ in range(source.strings):
                strings.append([])
                for _ in range(n):
                    nats = math.log(2)
                    if len(drawn) < len(begun):
                        bit = begun[len(drawn)]
                        alike = [some for some in own if some.startswith(drawn)]
                        nats = -math.log(sum(some.startswith(drawn + bit) for some in alike) / len(alike))
                    else:
                        bit = str(int(rng.random() * 2))
                    drawn += bit
                    strings[-1].append(int(bit))
                    made.add(int(bit), nats)
                if source.dividers:
                    made.add(mark)
            write_rest(source, rng, strings, made)
            return made

        return write_rows(source, draw, rows, length, mark, episode)

    return reference


def read(source, block, parts, mark):
    """(row, place, strings of the question) of every whole episode; checks dividers, ends and blanks."""
    for n, row in enumerate(block.tokens.tolist()):
        items = int(block.info["items"][n])
        step = items + source.dividers
        whole = parts * step + items + source.end_token
        assert len(row) >= whole
        for at in range(0, len(row) - whole + 1 if source.packed else 1, whole):
            for part in range(parts):
                assert not source.dividers or row[at + part * step + items] == mark
            assert not source.end_token or row[at + whole - 1] == mark
            strings = [row[at + part * step :][:items] for part in range(parts)]
            assert block.scored is None or not block.scored[n, at : at + parts * step].any()
            yield n, at + parts * step, strings
        if not source.packed:
            assert set(row[whole:]) <= {mark} and (block.scored is None or not block.scored[n, whole:].any())
