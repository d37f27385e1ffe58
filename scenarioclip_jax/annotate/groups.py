"""Joins groups of photos that must not fall into different splits."""

from collections.abc import Iterable, Mapping


def joined(relations: Iterable[Mapping[str, str]]) -> dict[str, str]:
    """Groups of photos that are linked by any relation, directly or through others.

    Args:
      relations: The name of each photo's group, by the photo's id: a mapping for each kind of group. Groups of
        one kind have their own names. The kinds come in rising importance.

    Returns:
      The name of each photo's group: of the groups that are joined in it, the first name of the most important
      kind.
    """
    parent: dict[tuple[int, str], tuple[int, str]] = {}
    member: dict[str, tuple[int, str]] = {}

    def root(node: tuple[int, str]) -> tuple[int, str]:
        while parent.setdefault(node, node) != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for kind, groups in enumerate(relations):
        for id, name in groups.items():
            node = root((-kind, name))
            other = root(member.setdefault(id, node))
            # The smaller one names both, whatever the order of the photos.
            first, last = sorted((node, other))
            parent[last] = first
    return {id: root(node)[1] for id, node in member.items()}
