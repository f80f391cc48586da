"""The command-line tool of operators, and the invariants that it audits."""
