"""What a contestant is."""

from benchmarks.processes import PeakMemory, elapsed


class Contestant:
    """Something that is prepared, timed on the first rows of an array, and asked for its result.

    Attributes
    ----------
    label : str
        Name in the tables.
    package : str
        Distribution whose version is shown, and without which the contestant is missing.
    algorithm : str
        Contestants with the same algorithm have to agree.
    note : str
        What a reader of the table has to know.
    first_rows : int
        Rows of the first, untimed run.
    """

    label = ""
    package = "skdict"
    algorithm = ""
    note = ""
    first_rows = 256

    def __init__(self, n_threads):
        self.n_threads = n_threads

    def setup(self, problem):
        """Load and convert the arrays; not timed."""
        raise NotImplementedError

    def run(self, n_rows):
        """Do the work on the first rows."""
        raise NotImplementedError

    def seconds(self, n_rows):
        """Time one run."""
        return elapsed(self.run, n_rows)

    def peak_memory(self, n_rows):
        """Bytes that one run needs above what was there before it."""
        with PeakMemory() as memory:
            self.run(n_rows)
        return memory.above

    def judged(self, n_rows):
        """Result and the bytes that it needed above what was there before."""
        with PeakMemory() as memory:
            result = self.result(n_rows)
        return result, memory.above

    def result(self, n_rows):
        """What is compared and judged: for coders a dense (n_rows, n_atoms) array."""
        return None


def limit_torch_threads(n_threads):
    """Import torch and give it as many threads as everyone has."""
    import torch

    torch.set_num_threads(n_threads)
    return torch
