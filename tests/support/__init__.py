"""What several test files share. Importable as `support` (see pythonpath in pyproject.toml)."""
