"""The one error that a user's mistake raises."""


class UserError(ValueError):
    """Something the user can put right: the message says the rule, what came, and what to do."""
