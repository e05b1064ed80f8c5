"""Where decisions go: picture, window, recording, lines of JSON, the terminal. Each is optional."""
