"""One component dataloader of the merged one, and what of it is used."""


class Part:
    """A dataloader, with where its arrays go and what its rows are compared by.

    Args:
        name: Its name in the merged dataloader.
        loader: The Kipoi dataloader class.
        arguments: What it is called with.
        inputs: For every input of the model that it feeds, keys and indices that lead to the array in its inputs.
        metadata: Whether its rows have metadata that is passed on.
        ids: Keys that lead to the name of a row in its metadata, if rows have one.
        ranges: Keys that lead to the genomic range of a row in its metadata, if rows have one.
        resized_by: The argument that makes all ranges as long as it says, around their centres.
        align_on: "ids" or "ranges", where its rows are looked up by them; None where row i belongs to row i.
        missing: Of rows that are not in all parts: "error", or "inner" to leave them out.
        in_order: Whether it is read from the first row to the last, although it could be read anywhere.
    """

    def __init__(
        self,
        name,
        loader,
        arguments,
        inputs,
        metadata=False,
        ids=None,
        ranges=None,
        resized_by=None,
        align_on=None,
        missing="error",
        in_order=False,
    ):
        self.name, self.loader, self.arguments, self.inputs = name, loader, arguments, inputs
        self.metadata, self.ids, self.ranges = metadata, ids, ranges
        self.resized = resized_by is not None and arguments.get(resized_by) is not None
        self.align_on, self.missing, self.in_order = align_on, missing, in_order

    def reads_the_same_as(self, other):
        """Whether another part reads the same data with the same settings, so that one reading does for both."""
        return (
            isinstance(other, Part)
            and self.loader is other.loader
            and same(self.arguments, other.arguments)
            and (self.align_on, self.missing, self.in_order) == (other.align_on, other.missing, other.in_order)
        )


def same(a, b):
    """Whether two arguments are certainly equal: 1, 1.0 and True are not."""
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(item, b[key]) for key, item in a.items())
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return a is b or (isinstance(a, str | bytes | int | float) and a == b)
