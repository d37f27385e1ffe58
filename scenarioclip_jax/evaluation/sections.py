"""Names of an evaluation's sections: a suite, or a suite on one of several data sets, as `zero_shot/coco`."""


def section_of(suite: str, part: str) -> str:
    """The name of the section of a suite.

    Args:
      part: Name of one of the data sets of a mixture; empty if there is only one.
    """
    return f"{suite}/{part}" if part else suite


def suite_of(section: str) -> str:
    return section.partition("/")[0]


def part_of(section: str) -> str:
    """The name of a section's data set; empty if there is only one."""
    return section.partition("/")[2]
