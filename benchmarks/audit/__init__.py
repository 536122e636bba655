"""What the audit finds: runs with one known defect each, and healthy runs."""
