"""Echo-state networks: a large sparse random reservoir that hears its own output."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from uprior.sources._base import Draw, Source, block_by_machines, machine_of_row
from uprior.sources._exact import Floats, add_product, choose, kernel, normal_quantiles, random_words, tanh
from uprior.spec import parameter
from uprior.types import Block

# Shape letters: R rows of one machine, U units, C connections into a unit, K symbols of the machine.
_TWIN_DISTANCE = np.float32(1e-3)


@dataclass(frozen=True)
class EchoState(Source):
    """Echo-state networks: a sparse random reservoir of tanh units that hears its own output and never learns.

    Machine: min_symbols..max_symbols symbols (their number uniform), a reservoir and a readout; a continuum of them. Each of
    ``units`` units hears ``connections`` random units (repetitions allowed) with weights N(0, v), v ~ U(variance_low,
    variance_high) drawn once per machine, and each symbol by a weight N(0, input_deviation^2):
    x <- tanh(W x + input of the last token), from x = 0. The next token is sampled from softmax(V x / temperature), V ~
    N(0, 1/units) times ``readout_multiplier``; the first ``start_tokens`` are uniform over the machine's symbols. Without
    input, disorder lives on where gain = sqrt(connections v) is above 1 and dies below it; input and feedback move that edge.
    ``info``: symbols, gain and, where ``lyapunov`` is set, the exponent in nats per step at which a twin of the reservoir,
    one small step aside and hearing the same tokens, drifts from the machine's first row: above 0 is chaos.

    Floor: exact given the machine: ln(symbols) at the first tokens, then -log p at the sampling temperature. Cost: about 3 µs
    per token at the defaults, in proportion to units * connections, less with more rows per machine; the same bytes on every
    machine (``_exact``).

    Jaeger 2001; source ``echo`` in the repository of Bloem 2025, arXiv 2506.20057. Preset "bloem" has its size, connections,
    variance (a gain of 1.83) and 2 to 16 symbols. How it feeds tokens back and at which temperature it writes is not recorded;
    these are ours.
    """

    name: ClassVar[str] = "echo_state"
    family: ClassVar[str] = "neural"
    presets: ClassVar[Mapping[str, Mapping[str, Any]]] = {
        "bloem": {"units": 1024, "connections": 16, "variance_low": 0.21, "variance_high": 0.21}
    }

    alphabet_size: int = parameter(256, "number of symbols", low=2, high=1 << 16)
    units: int = parameter(256, "units of the reservoir", low=1, high=1 << 16)
    connections: int = parameter(16, "connections into each unit", low=1, high=4096)
    variance_low: float = parameter(0.02, "least variance of the reservoir's weights", low=0.0, high=100.0)
    variance_high: float = parameter(0.3, "largest variance of the reservoir's weights", low=0.0, high=100.0)
    min_symbols: int = parameter(2, "fewest symbols of a machine", low=2, high=4096)
    max_symbols: int = parameter(16, "most symbols of a machine", low=2, high=4096)
    input_deviation: float = parameter(
        0.5, "standard deviation of the weights by which tokens are heard", low=0.0, high=1e3
    )
    readout_multiplier: float = parameter(1.0, "multiplier of the readout", low=1e-3, high=1000.0)
    temperature: float = parameter(0.01, "sampling temperature; 0 takes the likeliest token", low=0.0, high=100.0)
    start_tokens: int = parameter(4, "random tokens at the row's start", low=1, high=1 << 16)
    lyapunov: bool = parameter(False, "estimate the Lyapunov exponent by a twin of each machine's first row")
    rows_per_machine: int = parameter(8, "rows that share a machine", low=1, high=1 << 20)

    def validate(self) -> None:
        if self.max_symbols > self.alphabet_size:
            self.reject("max_symbols", f"2 to alphabet_size = {self.alphabet_size}")
        if self.min_symbols > self.max_symbols:
            self.reject("min_symbols", f"2 to max_symbols = {self.max_symbols}")
        if self.variance_low > self.variance_high:
            self.reject("variance_low", f"0 to variance_high = {self.variance_high:g}")

    def _generate(self, draw: Draw, rows: int, length: int) -> Block:
        local = machine_of_row(rows, self.rows_per_machine)
        machines = int(local.max()) + 1
        tokens, chance = np.empty((rows, length), dtype=self.token_dtype), np.empty((rows, length), dtype=np.float32)
        symbols, gain, exponent = np.empty(machines, dtype=np.int64), np.empty(machines), np.empty(machines)
        uniform, rng = draw("rows").random((rows, length)), draw("machines")
        for m in range(machines):
            mine = slice(m, rows, machines)  # as machine_of_row deals them
            alphabet, variance, sources, weights, inputs, readout = self._machine(rng)
            written, chance[mine], exponent[m] = _run(
                sources,
                weights,
                inputs,
                readout,
                np.ascontiguousarray(uniform[mine]),
                min(self.start_tokens, length),
                np.float32(self.temperature),
                self.lyapunov,
            )
            tokens[mine] = alphabet[written]
            symbols[m], gain[m] = len(alphabet), (self.connections * variance) ** 0.5
        info = {"symbols": symbols, "gain": gain} | ({"lyapunov": exponent} if self.lyapunov else {})
        return block_by_machines(draw, local, tokens, chance, info)

    def _machine(self, rng: np.random.Generator) -> tuple[Any, ...]:
        """(symbols [K], variance, sources [U, C], weights [U, C], inputs [U, K], readout [K, U]) of a fresh machine."""
        size = self.min_symbols + int(rng.random() * (self.max_symbols - self.min_symbols + 1))
        variance = self.variance_low + (self.variance_high - self.variance_low) * rng.random()
        alphabet = rng.choice(self.alphabet_size, size, replace=False)
        sources = rng.integers(0, self.units, (self.units, self.connections))
        shapes = ((self.units, self.connections), (self.units, size), (size, self.units))
        deviations = (variance**0.5, self.input_deviation, self.readout_multiplier * self.units**-0.5)
        reservoir = (
            (normal_quantiles()[random_words(rng, shape[0] * shape[1])] * np.float32(deviation)).reshape(shape)
            for shape, deviation in zip(shapes, deviations, strict=True)
        )
        return alphabet, variance, sources, *reservoir


@kernel
def _run(
    sources: NDArray[np.int64],
    weights: Floats,
    inputs: Floats,
    readout: Floats,
    uniform: NDArray[np.float64],
    start: int,
    temperature: Any,
    twin: bool,
) -> Any:
    """(symbol numbers [R, T], probability of each [R, T], Lyapunov exponent) of one machine's rows, in step.

    States are [U, R], so that sums run along the rows; with ``twin``, one more column is the twin of row 0.
    """
    rows, length = uniform.shape
    size, units = readout.shape
    columns = rows + 1 if twin else rows
    heard, tokens = np.empty(columns, dtype=np.int64), np.empty((rows, length), dtype=np.int64)
    chance = np.empty((rows, length), dtype=np.float32)
    state, new = np.zeros((units, columns), dtype=np.float32), np.empty((units, columns), dtype=np.float32)
    logits, line = np.empty((size, columns), dtype=np.float32), np.empty(size, dtype=np.float32)
    near, weight = np.empty(size, dtype=np.int64), np.empty(size, dtype=np.float32)
    drift = 0.0
    if twin:
        for u in range(units):
            state[u, rows] = _TWIN_DISTANCE / np.sqrt(np.float32(units)) * (np.float32(1) - np.float32(2 * (u % 2)))
    for t in range(length):
        logits[:] = 0
        if t >= start:
            add_product(logits, readout, state, size)
        for row in range(rows):
            if t < start:
                tokens[row, t], chance[row, t] = int(uniform[row, t] * size), 1.0 / size
            else:
                for k in range(size):
                    line[k] = logits[k, row]
                tokens[row, t], chance[row, t] = choose(line, temperature, uniform[row, t], near, weight)
            heard[row] = tokens[row, t]
        heard[columns - 1] = heard[0] if twin else heard[columns - 1]
        _step(sources, weights, inputs, heard, state, new)
        state, new = new, state
        if twin:
            drift += np.log(_rescale(state, rows) / _TWIN_DISTANCE)
    return tokens, chance, drift / length


@kernel
def _step(
    sources: NDArray[np.int64],
    weights: Floats,
    inputs: Floats,
    heard: NDArray[np.int64],
    state: Floats,
    new: Floats,
) -> None:
    """new [U, R] = tanh(input of the tokens heard [R] + the sum over connections, in their order, of weight * state)."""
    connections = weights.shape[1]
    for u in range(state.shape[0]):
        out, source, weight, ear = new[u], sources[u], weights[u], inputs[u]
        for r in range(out.shape[0]):
            out[r] = ear[heard[r]]
        for c in range(0, connections - 3, 4):
            p, q, v, w = weight[c], weight[c + 1], weight[c + 2], weight[c + 3]
            x, y, z, o = state[source[c]], state[source[c + 1]], state[source[c + 2]], state[source[c + 3]]
            for r in range(out.shape[0]):
                out[r] = out[r] + p * x[r] + q * y[r] + v * z[r] + w * o[r]
        for c in range(connections - connections % 4, connections):
            p, x = weight[c], state[source[c]]
            for r in range(out.shape[0]):
                out[r] = out[r] + p * x[r]
    flat = new.reshape(-1)
    for i in range(flat.shape[0]):
        value = tanh(flat[i])
        # Denormal numbers would cost a hundred cycles each; nothing can tell 1e-20 from 0 here.
        flat[i] = value if abs(value) > np.float32(1e-20) else np.float32(0)


@kernel
def _rescale(state: Floats, twin: int) -> Any:
    """The distance of column ``twin`` from column 0, which is then set back to _TWIN_DISTANCE."""
    distance = 1e-30
    for u in range(state.shape[0]):
        distance += np.float64(state[u, twin] - state[u, 0]) ** 2
    distance = np.sqrt(distance)
    for u in range(state.shape[0]):
        state[u, twin] = state[u, 0] + (state[u, twin] - state[u, 0]) * np.float32(_TWIN_DISTANCE / distance)
    return distance
