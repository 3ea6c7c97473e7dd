"""Search over payments: the document that is found, and the language it is found with. Pure: no engine, no clock."""
