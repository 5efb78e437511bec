"""How commands show things: as tables and text for people, as documents for programs."""
