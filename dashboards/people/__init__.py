"""People: accounts, sessions, API tokens, rights and the audit log of the console.

Kept in MySQL beside the books, in tables of their own. ``service`` is what the rest of the console asks, ``guard`` what
its routes declare, ``routes`` the pages.
"""
