"""Names that programs for Prefect 1, 2 and 3 use and Taskyard does not have, with what to do about each.

Nothing here is imported before a program asks for such a name: `taskyard._missing_features` does, and says
what is here. The documentation has the same tables, written from these (see `page`).
"""
