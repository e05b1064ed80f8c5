"""Measurements that anyone can rerun, from which the README quotes."""
