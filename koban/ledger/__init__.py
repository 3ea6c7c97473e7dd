"""The wallet's books: the chart of accounts, the posting rules, and the book that keeps one lane's balances."""
