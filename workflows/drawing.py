"""A workflow as a picture: Mermaid, as README files and editors show it."""

from workflows.graph import Graph


def drawn(graph: Graph) -> str:
    """A flowchart: a box a node, an arrow an edge, named where it is not the node's first port."""
    places = {step.name: f"n{number}" for number, step in enumerate(graph.steps)}
    lines = ["flowchart LR"]
    for step in graph.steps:
        lines.append(f'    {places[step.name]}["{step.name}<br/><small>{step.action.name}</small>"]')
    for step in graph.steps:
        first = step.action.ports_of(step.config)[0]
        for port, targets in step.ports.items():
            arrow = "-->" if port == first and len(step.action.ports_of(step.config)) == 1 else f"-->|{port}|"
            lines += [f"    {places[step.name]} {arrow} {places[target]}" for target in targets]
    return "\n".join(lines)
