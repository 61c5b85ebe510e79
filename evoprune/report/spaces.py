"""What people read of a search space."""

from evoprune.report.tables import markdown
from evoprune.space.costs import code_costs
from evoprune.space.space import SearchSpace
from evoprune.space.traced import TracedSpace


def space_table(space: SearchSpace) -> str:
    """Segments, the layers that write and read each, costs, and what is never pruned and why."""
    rows = [
        [segment.name, str(segment.width), _layers(space, segment.start, True), _layers(space, segment.start, False)]
        for segment in space.segments
    ]
    full, small = (code_costs(space, code) for code in (space.full_code(), space.smallest_code()))
    costs = [f"{name}: {value:,} ({small[name]:,} at one channel of each segment)" for name, value in full.items()]
    lines = [
        f"{space.name}: {space.length:,} channels in {len(space.segments)} segments",
        markdown(["segment", "channels", "written by", "read by"], rows),
        *costs,
        *_pinned(space),
    ]
    return "\n".join(lines)


def _layers(space: SearchSpace, bit: int, writes: bool) -> str:
    """Names of the layers that write, or read, a bit."""
    bits = space.output_bits if writes else space.input_bits
    return ", ".join(layer.name for layer in space.layers if (bits(layer) == bit).any())


def _pinned(space: SearchSpace) -> list[str]:
    if not isinstance(space, TracedSpace):
        return []
    share = f"{space.table.reach:.0%} of the parameters can go"
    pins = [f"- {', '.join(pin.layers)}: {pin.reason}" for pin in space.table.pins if pin.layers]
    return [share, *(["never pruned:", *pins] if pins else [])]
