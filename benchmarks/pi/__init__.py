"""What runs under the counting plugin, and the plugin."""
