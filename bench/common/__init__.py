"""What all questions share: systems under test, rounds, what a process used, the report."""
