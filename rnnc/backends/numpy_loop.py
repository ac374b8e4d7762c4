"""One loop of a Plan as Python source: where every result of a step is kept, then the lines.

Results have memory that is made before the loop. Parts of a vector are views, made once where
the vector stays; a result takes the memory of an operand that nothing reads any more; what is
kept of every step is written straight into the array of all steps.
"""

from __future__ import annotations

from collections.abc import Set

from rnnc.backends.numpy_ops import BINARY, UNARY, expression, part
from rnnc.backends.numpy_states import (
    VIEWS,
    Rows,
    depth,
    lag,
    memory_of,
    overwritten,
    projections,
    rows_of,
    windows_of,
)
from rnnc.backends.numpy_whole import feeds_loops, turned_weights, whole
from rnnc.backends.numpy_writer import Writer
from rnnc.graph.names import owner_of
from rnnc.graph.types import BATCH
from rnnc.passes.plan import Carried, Compute, Extent, Loop, Plan, reads_of, results_of

Part = tuple[int, int] | None  # a range of the last dimension; None where it is not told
BUFFERED = frozenset((*BINARY, *UNARY, "matmul", "where", "replaced", "softmax", "sum"))


class LoopWriter:
    """One loop: what each name of its body is stored in, then the lines."""

    def __init__(self, outer: Writer, loop: Loop, given: Set[str] = frozenset()):
        self.w = outer
        self.loop = loop
        self.given = given  # arrays of all steps whose memory exists
        self.types = outer.plan.arrays
        self.collected = {inner: out for out, inner in loop.collected}
        self.next_of: dict[str, list[Carried]] = {}
        for c in loop.carried:
            self.next_of.setdefault(c.next, []).append(c)
        self.stored = set(self.collected) | set(self.next_of)
        self.position = {name for s in loop.body for name in results_of(s)}
        self.windows = windows_of(loop, self.types)
        self.reads = [reads_of([s]) for s in loop.body]
        self.last: dict[str, int] = {}
        for i, names in enumerate(self.reads):
            self.last.update(dict.fromkeys(names, i))
        self.root: dict[str, tuple[str, tuple[int, int] | None]] = {}  # view -> (buffer, part)
        self.before: list[str] = []  # lines in front of the loop
        self.inside: list[str] = []
        self.fixed: set[str] = set()  # views that are made before the loop
        self.own_lengths = _lengths_of(outer.plan, loop)
        self.feeding = feeds_loops(loop.body)
        self.buffers: set[str] = set()  # results with memory of their own, made before the loop
        self.reused: set[str] = set()  # results that take the memory of an operand
        self.transposed: dict[str, str] = {}  # names of transposed vectors of a step
        self.products = projections(loop, self.types)
        self.rows = rows_of(loop, self.types, given)
        self.in_place = overwritten(loop, self.types)

    def text(self) -> list[str]:
        """The lines of the loop, and those in front of it and after it."""
        w, loop = self.w, self.loop
        self._share()
        n = w.names
        each = [(n[inner], n[outer]) for outer, inner in loop.collected]
        read = reads_of(s for s in loop.body if self.rows.keys().isdisjoint(results_of(s)))
        each += [(n[inner], n[outer]) for inner, outer in loop.scanned if inner in read]
        # a number a step has to be an array, so that it can be written to
        numbers = {n[inner] for _, inner in loop.collected if not self.types[inner].dims}
        inside_rows = {rows.outer for rows in self.rows.values()}
        for outer, _ in loop.collected:
            if outer not in self.given and outer not in inside_rows:
                self.before.append(f"{n[outer]} = {self.w.memory(outer)}")
        for rows in self.rows.values():
            each += self._side_by_side(rows)
        each += self._kept_turned()
        for name in sorted(self.in_place):
            self.before.append(f"{n[name]} = {self.w.memory(name)}")
        rings = [x for x in self.next_of if x not in self.collected and x in self.position]
        rings = [x for x in rings if x not in self.in_place]
        for name in rings:
            count = depth(loop, name) + 1
            ring = ", ".join(self.w.memory(name) for _ in range(count))
            held = w.fresh(f"{n[name]}_ring")
            self.before.append(f"{held} = ({ring})")
            self.inside.append(f"{n[name]} = {held}[step % {count}]")
        if numbers or rings or not each:
            for a, b in each:
                self.inside.append(f"{a} = {b}[{'step, ...' if a in numbers else 'step'}]")
            each = []
        handed = [c for c in loop.carried if c.final or c.name in read or c.name in self.next_of]
        for c in handed:
            first = w.operand(c.initial)
            if c.initial in w.scalars:  # a state is an array from the first step on
                first = f"np.array({first}, {w.kind(c.initial)})"
            self.before.append(f"{n[c.name]} = {first}")
        w.quoted = ()
        for s in loop.body:
            if isinstance(s, Compute):
                self._statement(s)
            else:
                self.inside += LoopWriter(w, s, self.stored).text()
        for c in sorted(handed, key=lambda c: lag(loop, c), reverse=True):
            self.inside.append(f"{n[c.name]} = {n[c.next]}")
        lines = [*self.before, self._head(each), *(f"    {text}" for text in self.inside)]
        lines += [f"{n[c.final]} = {n[c.name]}" for c in loop.carried if c.final]
        w.quoted = ()
        return lines

    def _side_by_side(self, rows: Rows) -> list[tuple[str, str]]:
        """The names of a step's row and of its transpose, as they are read, and the arrays."""
        lines, steps = memory_of(self.w, self.loop, rows)
        self.before += lines
        readers = [s for s in self.loop.body if rows.name in reads_of([s])]
        name = self.w.names[rows.name]
        each = []
        if any(s.args[0] == rows.name for s in self.products):
            self.transposed[rows.name] = self.w.fresh(f"{name}_T")
            turned = self._before(f"{name}_rows_T", f"{steps}.swapaxes(1, 2)")
            each.append((self.transposed[rows.name], turned))
        if rows.name != rows.state.name and any(s not in self.products for s in readers):
            each.append((name, self._before(f"{name}_rows", steps)))
        return each

    def _kept_turned(self) -> list[tuple[str, str]]:
        """Names for the transposes of what products read or make and every step keeps."""
        each = []
        for s in self.products:
            for name in (s.args[0], s.target):
                if name in self.collected and name not in self.transposed:
                    self.transposed[name] = self.w.fresh(f"{self.w.names[name]}_T")
                    outer = self.w.names[self.collected[name]]
                    turned = self._before(f"{outer}_T", f"{outer}.swapaxes(1, 2)")
                    each.append((self.transposed[name], turned))
        return each

    def _head(self, each: list[tuple[str, str]]) -> str:
        """The line that begins the loop."""
        turn = "" if self.loop.forward else "[::-1]"
        if not each:
            return f"for step in range({self.w.extent(self.loop.axis)}){turn}:"
        names = ", ".join(a for a, _ in each)
        arrays = ", ".join(f"{b}{turn}" for _, b in each)
        return f"for {names} in {f'zip({arrays})' if len(each) > 1 else arrays}:"

    # ---------------------------------------------------------------- statements

    def _share(self) -> None:
        """Decide which results take the memory of an operand, and name what shares memory
        after the equation of the spec among them."""
        leader: dict[str, str] = {}
        for i, s in enumerate(self.loop.body):
            if isinstance(s, Loop) or s.target in self.stored:
                continue
            if s.op in VIEWS:
                self.root[s.target] = self._view(s)
            elif self._buffered(s):
                reuse = self._overwritable(i, s)
                if reuse is None:
                    size = (*self.types[s.target].dims, 0)[len(self.types[s.target].dims) - 1]
                    self.root[s.target] = (s.target, (0, size) if isinstance(size, int) else None)
                else:
                    self.root[s.target] = self.root[reuse]
                    leader[s.target] = leader.get(reuse, reuse)
        groups: dict[str, list[str]] = {}
        for name, first in leader.items():
            groups.setdefault(first, [first]).append(name)
        for first, names in groups.items():
            written = [x for x in names if owner_of(x) == x]
            chosen = self.w.names[written[-1] if written else first]
            for name in names:
                self.w.names[name] = chosen
        self.reused = set(leader)

    # ---------------------------------------------------------------- statements

    def _statement(self, s: Compute) -> None:
        w = self.w
        if s.target in self.windows:
            return
        self._quote(s)
        name = w.names[s.target]
        if s.target in self.rows:
            return  # it is there
        if s.target in self.stored or s.target in self.reused:
            self._into(s, name)
        elif s.op in VIEWS:
            # a view of a buffer that stays is made once, unless it moves
            stays = s.op != "window" and self._stays(s.args[0])
            if stays:
                self.fixed.add(s.target)
            (self.before if stays else self.inside).append(f"{name} = {expression(w, s)}")
        elif self._buffered(s):
            self._own_memory(s.target)
            self._into(s, name)
        else:
            self.inside.append(f"{name} = {whole(w, s, self.feeding)}")

    def _own_memory(self, name: str) -> None:
        """Make memory for a result of every step; one of windows takes a part of it."""
        w = self.w
        dims = self.types[name].dims
        if not self._moves(name):
            self.before.append(f"{w.names[name]} = {self.w.memory(name)}")
            return
        held = w.fresh(f"{w.names[name]}_memory")
        self.before.append(f"{held} = {self.w.memory(name)}")
        self.inside.append(f"{w.names[name]} = {held}[..., :{w.extent(dims[-1])}]")
        self.fixed.discard(name)

    def _moves(self, name: str) -> bool:
        """Whether an array has the rows of a window: another part of its memory at each step."""
        return any(d in self.w.plan.portions for d in self.types[name].dims)

    def _buffered(self, s: Compute) -> bool:
        """Whether a result has memory that is made before the loop: not if its length is known
        in the loop alone, nor for a mere number of steps."""
        type_ = self.types[s.target]
        lengths = type_.kind == "index" and not type_.dims
        return s.op in BUFFERED and not lengths and self.own_lengths.isdisjoint(type_.dims)

    def _stays(self, name: str) -> bool:
        """Whether a name stands for the same memory at every step."""
        root = self.root.get(name, (None, None))[0]
        return root is not None and (root in self.buffers or root in self.fixed)

    def _quote(self, s: Compute) -> None:
        w = self.w
        lines, w.lines = w.lines, []
        indent, w.indent = w.indent, ""
        w.quote(s.origins)
        self.inside += w.lines
        w.lines, w.indent = lines, indent

    def _view(self, s: Compute) -> tuple[str, tuple[int, int] | None]:
        root, part = self.root.get(s.args[0], (s.args[0], None))
        if s.op != "slice" or s.attr("dim") != len(self.types[s.target].dims) - 1 or not part:
            return root, None  # some of it, and it is not worth telling which
        return root, (part[0] + s.attr("start"), part[0] + s.attr("stop"))

    def _overwritable(self, i: int, s: Compute) -> str | None:
        """An operand whose memory may take the result: of the same form, and not read again,
        neither itself nor through another name for the same part of its buffer."""
        self.buffers.add(s.target)
        if s.op not in BINARY and s.op not in UNARY:
            return None
        for arg in s.args:
            if arg not in self.root or self.types[arg] != self.types[s.target]:
                continue
            root, part = self.root[arg]
            if root not in self.buffers or self.last.get(arg, -1) != i:
                continue
            clash = any(
                self._read_from(name, p, part, i)
                for name, (r, p) in self.root.items()
                if r == root and name != arg
            )
            if not clash:
                self.buffers.discard(s.target)
                return arg
        return None

    def _read_from(self, name: str, held: Part, part: Part, i: int) -> bool:
        """Whether statement ``i`` or a later one reads ``part`` of a buffer through this name,
        which holds ``held`` of it, or makes a view that does."""
        for s, reads in zip(self.loop.body[i:], self.reads[i:], strict=True):
            if name in reads:
                taken = held
                if isinstance(s, Compute) and s.op in VIEWS:
                    taken = self._view(s)[1]
                if _overlap(part, taken):
                    return True
        return False

    def _into(self, s: Compute, out: str) -> None:
        """Lines that put the result of a statement into existing memory."""
        w = self.w
        args = [w.operand(a) for a in s.args]
        if s.op in BINARY:
            a, b = (self._operand(x, s.target) for x in s.args)
            # NumPy deprecates a third operand of these two, since it might be meant as one
            to = f"out={out}" if s.op in ("maximum", "minimum") else out
            self.inside.append(f"{self._function(BINARY[s.op])}({a}, {b}, {to})")
        elif s.op == "sigmoid":
            # 1 / (1 + exp(-x)), also where exp is infinite
            negative, exp, add, reciprocal = map(
                self._function, ("negative", "exp", "add", "reciprocal")
            )
            self.inside += [
                f"{negative}({args[0]}, {out})",
                f"{exp}({out}, {out})",
                f"{add}({out}, ONE, {out})",
                f"{reciprocal}({out}, {out})",
            ]
        elif s.op == "relu":
            self.inside.append(f"{self._function('maximum')}({args[0]}, 0, out={out})")
        elif unary := UNARY.get(s.op):
            self.inside.append(f"{self._function(unary)}({args[0]}, {out})")
        elif s in self.products:
            # transposed, since the memory is: np.dot writes to contiguous memory alone
            moves = s.target in self.stored or self._moves(s.target)
            result = f"{out}.T" if moves else self._turned(out)
            weights, vectors = self._weights(s.args[1]), self._transpose(s.args[0])
            result = self.transposed.get(s.target, result)
            self.inside.append(f"{self._function('dot')}({weights}, {vectors}, {result})")
        elif s.op == "replaced":
            self.inside.append(f"np.copyto({out}, {args[0]})")
            self.inside.append(f"{out}{part(w, s, s.attr('dim'))} = {args[1]}")
        elif s.op == "matmul":
            self.inside.append(f"{self._function('matmul')}({args[0]}, {args[1]}, {out})")
        elif s.op == "where":
            self.inside.append(f"np.copyto({out}, {args[2]})")
            self.inside.append(f"np.copyto({out}, {args[1]}, where={args[0]})")
        elif s.op == "softmax":
            d = s.attr("dim")
            self.inside += [
                f"np.subtract({args[0]}, {args[0]}.max({d}, keepdims=True), out={out})",
                f"np.exp({out}, out={out})",
                f"np.divide({out}, {out}.sum({d}, keepdims=True), out={out})",
            ]
        elif s.op == "sum":
            dims = s.attr("dims")
            self.inside.append(f"np.sum({args[0]}, {dims}, out={out})")
        else:
            self.inside.append(f"{out}[...] = {expression(w, s)}")

    def _function(self, name: str) -> str:
        """A function of NumPy under a local name, which a loop finds faster."""
        line = f"{name} = np.{name}"
        if line not in self.before:
            self.before.insert(0, line)
        return name

    def _weights(self, name: str) -> str:
        """A matrix of weights, or a window of one, as products with all sequences take it."""
        w, window = self.w, self.windows.get(name)
        matrix = window.args[0] if window else name
        turned = self._turned(w.operand(matrix), turned_weights(w, matrix))
        return f"{turned}{part(w, window, 1 - window.attr('dim'))}" if window else turned

    def _transpose(self, name: str) -> str:
        """The transpose of a vector of all sequences."""
        if name in self.transposed:
            return self.transposed[name]
        text = self.w.names[name]
        stays = self._stays(name) and not self._moves(name)
        return self._turned(text) if stays else f"{text}.T"

    def _turned(self, name: str, text: str | None = None) -> str:
        """A name, made before the loop, for a matrix with rows and columns exchanged."""
        return self._before(f"{name}_T", text or f"{name}.T")

    def _before(self, base: str, text: str) -> str:
        """A name for what is computed once before the loop."""
        known = next((x for x in self.before if x.endswith(f" = {text}")), None)
        if known:
            return known.split(" = ")[0]
        name = self.w.fresh(base)
        self.before.append(f"{name} = {text}")
        return name

    def _operand(self, name: str, target: str) -> str:
        """An operand of an elementwise function; a vector that all sequences share is laid out as
        the result is, once before the loop."""
        dims, kind = self.types[target].dims, self.types[name].kind
        inside = {*self.position, *(c.name for c in self.loop.carried)}
        inside |= {inner for inner, _ in self.loop.scanned}
        shared = kind == "real" and self.types[name].dims == dims[1:] and len(dims) == 2
        if name in inside or not shared or dims[0] != BATCH:
            return self._number(name)
        w = self.w
        return self._before(f"{w.names[name]}_spread", f"spread({w.names[name]}, {w.shape(dims)})")

    def _number(self, name: str) -> str:
        """An operand; a constant gets a name before the loop, which is faster than a literal."""
        w = self.w
        if name not in w.scalars or self.types[name].kind != "real":
            return w.operand(name)
        if w.scalars[name] == "0.5":
            return "HALF"
        line = f"{w.names[name]} = np.array({w.scalars[name]}, REAL)"
        if line not in self.before:
            self.before.append(line)
        return w.names[name]


def _lengths_of(plan: Plan, loop: Loop) -> set[Extent]:
    """The axes whose lengths a loop computes in each of its steps."""
    made = {name for s in loop.body for name in results_of(s)}
    sources = plan.axes.items()
    return {a for a, source in sources if isinstance(source, tuple) and source[0] in made}


def _overlap(a: Part, b: Part) -> bool:
    return a is None or b is None or (a[0] < b[1] and b[0] < a[1])
