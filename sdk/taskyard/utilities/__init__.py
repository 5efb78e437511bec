"""Small helpers under the names that users of other workflow systems know."""
