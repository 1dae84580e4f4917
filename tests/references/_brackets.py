"""Shared by the references of the formal languages."""


def size(rng, low, high):
    """One whole number low..high with probability proportional to 1/n."""
    edges, total = [], 0.0
    for n in range(low, high + 1):
        total += 1.0 / n
        edges.append(total)
    target = rng.random() * total
    return next((low + i for i, edge in enumerate(edges) if target < edge), high)


def sizes(rng, low, high, count):
    return [size(rng, low, high) for _ in range(count)]
