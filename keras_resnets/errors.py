"""What is raised when something that the user gave cannot be used."""


class UserError(ValueError):
    """A mistake of whoever uses the package, told in one line: what is legal, and what came.

    Any other `ValueError` is a defect of this package or of Keras. Scripts print the line of the
    former and the traceback of the latter.
    """
