"""Many devices over SSH: signed bundles, and releases that switch at once, and back where one does not do well."""
